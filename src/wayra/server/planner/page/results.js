// The plan: the best option, the list, the one that is looked at closely, and what was rejected and why.

const COLUMNS = [
  ["usd_per_month", "A month"], ["usd_per_mtok", "Million tokens"], ["ttft_p95_s", "First token"], ["latency_p95_s", "Answer"], ["tok_per_s", "A user's stream"],
  ["memory_gb", "Memory"],
];
const FIGURES = [...COLUMNS.map(([name]) => name), "machines", "capacity_mtok_per_month", "hardware_usd", "training_usd", "training_hours"];
const TIMES = new Set(["ttft_p95_s", "latency_p95_s", "tok_per_s"]);
const PARTS = { weights: "Weights", kv: "KV cache", activations: "Activations", runtime: "Runtime" };
const REJECTED_SHOWN = 15;
const KINDS_SHOWN = 10;
/** On a phone what is long is folded until it is asked for. */
const FOLDED = new Set(["Latency", "Quality and risks"]);

class Results {
  /** desk, workload: what is asked about. explanation: where numbers are explained. benchmarks: with their titles. */
  constructor(node, desk, workload, explanation, benchmarks) {
    const titles = new Map(benchmarks.map(({ name, title }) => [name, title]));
    Object.assign(this, { node, desk, workload, explanation, titles, plan: null, chosen: null, all: false, failing: null, shown: REJECTED_SHOWN, over: "batch", details: new Map(), folds: new Map() });
  }

  /** A card that can be folded; the page remembers which are. */
  card(title, heading, ...children) {
    const open = this.folds.get(title) ?? !(NARROW.matches && FOLDED.has(title));
    const details = make("details", { class: "card", open }, make("summary", {}, heading), ...children.filter(Boolean));
    details.addEventListener("toggle", () => this.folds.set(title, details.open));
    return make("section", { "aria-label": title }, details);
  }

  /** A new plan. What was looked at is found again by its label. */
  show(plan, asked) {
    const label = this.chosen && this.rowOf(this.chosen)?.label;
    Object.assign(this, { plan, asked, details: new Map(), shown: REJECTED_SHOWN });
    const rows = [...plan.options, ...plan.rejected];
    const again = label && plan.options.find((row) => row.label === label);
    this.chosen = (again ?? plan.options[0] ?? plan.rejected[0] ?? rows[0])?.id ?? null;
    if (this.failing && !plan.rejected.some((row) => row.failures.some(({ constraint }) => constraint === this.failing))) this.failing = null;
    this.draw();
  }

  rowOf(id) {
    return [...this.plan.options, ...this.plan.rejected].find((row) => row.id === id);
  }

  draw() {
    const focused = document.activeElement?.dataset?.focus;
    this.closer = make("section", { class: "closer", "aria-label": "One option closely" });
    this.node.replaceChildren(this.best(), ...(this.plan.options.length ? [this.list()] : []), this.closer, this.rejected(), this.notes());
    if (focused) this.node.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    this.look();
  }

  /** A number that explains itself when it is asked. */
  number(row, name, part = null) {
    const found = row.numbers[name];
    if (!found) return null;
    const value = name === "training_hours" ? `${found[1]} ${found[2]}` : figure(name, found[0]);
    return make("button", { type: "button", class: "num", "aria-label": `${TITLES[name]}: ${value}. How did it come about?`, "data-focus": `${row.id} ${name}`, on: { click: (event) => { event.stopPropagation(); this.explain(row, name, part); } } }, value);
  }

  async explain(row, name) {
    try {
      const { numbers } = await this.detailsOf(row.id);
      this.explanation.show(TITLES[name], numbers[name], row.label);
    } catch (error) {
      toast.show(error.message);
    }
  }

  async detailsOf(id) {
    const { details } = this;
    if (!details.has(id)) {
      const asked = this.desk.explain(this.asked, id);
      details.set(id, asked);
      asked.catch(() => details.delete(id));
    }
    return details.get(id);
  }

  best() {
    const { plan } = this;
    const own = (name) => make("button", { type: "button", class: "num", "aria-label": `${TITLES[name]}: ${digits(plan.numbers[name].value)}. How did it come about?`, on: { click: () => this.explanation.show(TITLES[name], plan.numbers[name]) } }, digits(plan.numbers[name].value));
    const volume = make("p", { class: "volume" }, own("mtok_per_month"), " million tokens a month, ", own("peak_requests_per_s"), " requests a second at the peak. Every underlined number tells how it came about.");
    const [row] = plan.options;
    if (!row) return this.conflict(volume);
    const facts = FIGURES.filter((name) => name !== "usd_per_month" && row.numbers[name]);
    return make("section", { class: "best", "aria-label": "Best option" }, volume,
      make("div", { class: "headline" },
        make("div", { class: "price" }, this.number(row, "usd_per_month"), make("span", {}, " a month")),
        make("div", { class: "which" }, kindOf(row), make("h2", {}, row.label))),
      row.known_to_meet ? this.cheaper(row) : make("p", { class: "unsure" }, unknownOf(row)),
      make("dl", { class: "facts" }, ...facts.map((name) => make("div", {}, make("dt", {}, TITLES[name]), make("dd", {}, this.number(row, name), withinOf(row, name))))));
  }

  /** What costs less and is not the best only because a limit cannot be checked from here. */
  cheaper(best) {
    const row = this.plan.options.find((one) => !one.known_to_meet && one.numbers.usd_per_month[0] < best.numbers.usd_per_month[0]);
    if (!row) return null;
    const look = make("button", { type: "button", class: "plain", on: { click: () => this.choose(row.id) } }, "Look at it");
    return make("p", { class: "cheaper" }, `${row.label} costs ${usd(row.numbers.usd_per_month[0])}. Whether it meets the limit on ${row.unknowns.join(" and ")} cannot be known from here. `, look);
  }

  conflict(volume) {
    const { conflict } = this.plan;
    const drop = { latency: ["limits", "latency_p95_s"], "time to first token": ["limits", "ttft_p95_s"], context: ["limits", "context"], quality: ["quality"], privacy: ["rules", "privacy"], region: ["rules", "region"], "open weights": ["rules", "open_weights"], "fine-tuning": ["fine_tuning"], "monthly budget": ["budget", "usd_per_month"], "budget for hardware": ["budget", "upfront_usd"] };
    const named = conflict?.constraints ?? [];
    const buttons = named.filter((name) => name in drop && this.workload.get(...drop[name]) !== undefined).map((name) => make("button", { type: "button", class: "plain", on: { click: () => { this.workload.set(undefined, ...drop[name]); this.workload.dispatchEvent(new Event("replaced")); } } }, `Without ${name}`));
    const [lead, ...rest] = (conflict?.explanation ?? "Nothing was weighed.").split(/: (?=without )|; (?=without )/);
    return make("section", { class: "best none", "aria-label": "No option" }, volume, make("h2", {}, "Nothing meets it"),
      make("p", {}, `${lead.charAt(0).toUpperCase()}${lead.slice(1)}${rest.length ? ":" : "."}`), rest.length ? make("ul", {}, ...rest.map((text) => make("li", {}, text))) : null,
      buttons.length ? make("div", { class: "row wrap" }, ...buttons) : null);
  }

  list() {
    const { options } = this.plan;
    const different = options.filter((row, place) => options.findIndex((other) => other.kind === row.kind && other.model === row.model) === place);
    const kept = new Set(this.all ? options : this.someOf(different));
    if (this.chosen?.startsWith("o")) kept.add(this.rowOf(this.chosen));
    const known = options.filter((row) => row.known_to_meet).length;
    const title = known && known < options.length ? `${count(known, "option")} known to meet it, ${options.length - known} that may` : `${count(options.length, "option")} ${known ? `meet${known === 1 ? "s" : ""} it` : "may meet it"}`;
    const more = options.length > kept.size || this.all ? make("button", { type: "button", class: "plain", "data-focus": "all", on: { click: () => { this.all = !this.all; this.draw(); } } }, this.all ? "Only the best of each model" : `All ${options.length} options`) : null;
    return make("section", { "aria-labelledby": "options-title" }, make("div", { class: "section-head" }, make("h2", { id: "options-title" }, title), more),
      make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Options" },
        make("table", { class: "options" },
          make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Option"), ...COLUMNS.map(([, title]) => make("th", { scope: "col" }, title)))),
          make("tbody", {}, ...this.rowsOf(kept)))));
  }

  /** The first of those that are known to meet the workload, and of those that may. */
  someOf(rows) {
    const most = NARROW.matches ? KINDS_SHOWN / 2 : KINDS_SHOWN;
    const may = rows.filter((row) => !row.known_to_meet);
    const known = rows.filter((row) => row.known_to_meet).slice(0, Math.max(most - may.length, Math.ceil(most / 2)));
    return [...known, ...may.slice(0, most - known.length)];
  }

  /** Rows in their order, with a line for those that are left out between them. */
  rowsOf(kept) {
    const most = Math.max(...[...kept].map((row) => row.numbers.usd_per_month[0]));
    const rows = [];
    let between = [];
    const last = this.plan.options.findLastIndex((row) => kept.has(row));
    const lineOver = (words, name) => make("tr", { class: name }, make("td", { colspan: COLUMNS.length + 1 }, words));
    const leaveOut = () => {
      if (!between.length) return;
      const [from, to] = [between[0], between.at(-1)];
      const costs = [...new Set([from, to].map((row) => usd(row.numbers.usd_per_month[0])))].join(" to ");
      const ranks = [...new Set([rankOf(from), rankOf(to)])].join(" to ");
      rows.push(lineOver(`${ranks}: ${costs} a month, models shown above on other hardware, in other formats or from other providers`, "between"));
      between = [];
    };
    this.plan.options.slice(0, last + 1).forEach((row, place) => {
      if (!row.known_to_meet && (place === 0 || this.plan.options[place - 1].known_to_meet)) {
        leaveOut();
        rows.push(lineOver(unknownOf(row), "unsure"));
      }
      if (!kept.has(row)) return between.push(row);
      leaveOut();
      rows.push(this.optionRow(row, most));
    });
    return rows;
  }

  optionRow(row, most) {
    const chosen = row.id === this.chosen;
    const pick = make("button", { type: "button", class: "pick", "aria-pressed": String(chosen), "data-focus": `pick ${row.id}`, on: { click: () => this.choose(row.id) } }, make("span", { class: "place" }, String(rankOf(row))), make("span", {}, row.label));
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${Math.max(1, (row.numbers.usd_per_month[0] / (most || 1)) * 100)}%`;
    const cells = COLUMNS.map(([name, title]) => make("td", { "data-title": title, class: row.numbers[name] ? null : "none" }, this.number(row, name) ?? make("span", { class: "unknown", title: "cannot be known from here" }, make("span", { "aria-hidden": "true" }, "–"), make("span", { class: "hidden" }, "not known")), name === "usd_per_month" ? bar : null));
    const quality = row.evidence.map(([benchmark, value]) => `${this.titles.get(benchmark) ?? benchmark} ${digits(value)}`).join(", ");
    return make("tr", { class: chosen ? "chosen" : null }, make("th", { scope: "row" }, pick, make("div", { class: "under" }, kindOf(row), quality)), ...cells);
  }

  choose(id) {
    this.chosen = id;
    this.draw();
    if (this.closer.getBoundingClientRect().top > innerHeight * 0.85 || NARROW.matches) this.closer.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  async look() {
    const { closer, chosen } = this;
    if (chosen === null) return;
    const row = this.rowOf(chosen);
    closer.setAttribute("aria-busy", "true");
    try {
      const found = await this.detailsOf(chosen);
      if (closer !== this.closer) return;
      closer.replaceChildren(...this.closely(row, found));
    } catch (error) {
      if (closer === this.closer) closer.replaceChildren(make("p", { class: "note" }, error.message));
    }
    closer.setAttribute("aria-busy", "false");
  }

  closely(row, found) {
    const parts = found.parts.length ? found.parts : [found];
    const blocks = parts.flatMap((part) => [
      found.parts.length ? make("div", { class: "part" }, kindOf(part), make("h3", {}, part.label)) : null,
      found.parts.length ? this.factsOf(part) : null,
      part.memory ? this.memory(part.memory, part.label) : null,
      part.paces ? this.paces(part, row, found.parts.length > 0) : null,
    ]);
    return [
      make("div", { class: "section-head" }, make("h2", {}, row.label), kindOf(row)),
      row.known_to_meet || row.failures.length ? null : make("p", { class: "unsure" }, unknownOf(row)),
      ...(row.failures.length ? [make("ul", { class: "failures" }, ...row.failures.map(failureOf))] : []),
      ...blocks.filter(Boolean),
      found.break_even ? this.breakEven(found.break_even) : null,
      this.evidence(found),
      ...(found.beside ? this.beside(found.beside) : []),
    ].filter(Boolean);
  }

  /** The numbers of a hybrid's part. */
  factsOf({ numbers, label }) {
    const named = FIGURES.filter((name) => numbers[name]);
    const button = (name) => make("button", { type: "button", class: "num", "aria-label": `${TITLES[name]}: ${numbers[name].shown}. How did it come about?`, on: { click: () => this.explanation.show(TITLES[name], numbers[name], label) } }, name === "training_hours" ? numbers[name].shown : figure(name, numbers[name].value));
    return make("dl", { class: "facts" }, ...named.map((name) => make("div", {}, make("dt", {}, TITLES[name]), make("dd", {}, button(name)))));
  }

  /** What an API is compared with runs on machines one can look into. */
  beside(found) {
    const row = this.rowOf(found.id);
    return [
      make("div", { class: "section-head" }, make("h2", {}, `Compared with ${found.label}`), make("button", { type: "button", class: "plain", on: { click: () => this.choose(found.id) } }, "Look at it")),
      found.memory ? this.memory(found.memory, found.label) : null,
      found.paces && row ? this.paces(found, row, false) : null,
    ].filter(Boolean);
  }

  memory({ parts, usable, device, device_title: title }, label) {
    const bar = make("div", { class: "memory-bar", role: "img", "aria-label": `Memory of one machine: ${Object.entries(parts).map(([name, part]) => `${PARTS[name]} ${gigabytes(part.value)}`).join(", ")}, of ${gigabytes(device.value)}` });
    const whole = Math.max(device.value, Object.values(parts).reduce((sum, part) => sum + part.value, 0));
    for (const [name, part] of Object.entries(parts)) {
      const piece = make("span", { class: `piece ${name}` });
      piece.style.width = `${(part.value / whole) * 100}%`;
      bar.append(piece);
    }
    if (usable.value < device.value) {
      const line = make("span", { class: "usable" });
      line.style.left = `${(usable.value / whole) * 100}%`;
      bar.append(line);
    }
    const legend = (name, text, tree) => make("li", {}, make("span", { class: `swatch ${name}` }), `${text} `, make("button", { type: "button", class: "num", "aria-label": `${text}: ${gigabytes(tree.value)}. How did it come about?`, on: { click: () => this.explanation.show(text, tree, label) } }, gigabytes(tree.value)));
    return this.card("Memory", make("h3", {}, "Memory of one machine"), make("p", { class: "note" }, title), bar,
      make("ul", { class: "legend" }, ...Object.entries(parts).map(([name, part]) => legend(name, PARTS[name], part)), legend("line-usable", "May be used", usable), legend("none", "There is", device)));
  }

  paces(part, row, isPart) {
    const box = make("div", { class: "charts" });
    const onPoint = async (batch, key) => {
      if (isPart) return toast.show("The numbers of a hybrid's part are explained where its route is planned alone");
      const name = { ttft_s: "ttft_p95_s", latency_s: "latency_p95_s", tpot_s: "tok_per_s" }[key];
      try {
        const { numbers } = await this.desk.explain(this.asked, row.id, batch);
        this.explanation.show(TITLES[name], numbers[name], `${row.label}, ${count(batch, "sequence")} at once`);
      } catch (error) {
        toast.show(error.message);
      }
    };
    const draw = () => box.replaceChildren(...paceCharts(part.paces, this.over, onPoint));
    const name = freshId("over");
    const choice = (value, text) => {
      const radio = make("input", { type: "radio", name, value });
      radio.checked = this.over === value;
      radio.addEventListener("change", () => { this.over = value; draw(); });
      return make("label", { class: "choice" }, radio, text);
    };
    draw();
    const { points, source } = part.paces;
    if (points.length < 2) return null;
    return this.card("Latency", make("h3", {}, "Latency"),
      make("fieldset", { class: "over" }, make("legend", { class: "hidden" }, "Over"), choice("batch", "by batch"), choice("requests_per_s", "by load")),
      make("p", { class: "note" }, `Computed, with constants ${source}. Measured times are expected in the shaded part; what has none was not compared with measured times. Points explain themselves.`),
      box,
      chartTable("Latency", ["Sequences at once", "Requests a second", "First token", "Time per output token", "Whole answer"], points.map((point) => [String(point.batch), digits(point.requests_per_s), seconds(point.ttft_s), point.tpot_s === null ? "–" : seconds(point.tpot_s), seconds(point.latency_s)])));
  }

  breakEven(compared) {
    const titles = { volume: "Break-even, million tokens a month", capacity: "Capacity of one machine", full_load: "A million tokens at full load", machine: "One machine a month", api: "A million tokens of the API" };
    const onNumber = (name) => this.explanation.show(titles[name], compared.numbers[name], compared.api ? `${compared.machines} against ${compared.api}` : compared.machines);
    const legend = Object.entries(compared.numbers).map(([name, tree]) => make("div", {}, make("dt", {}, titles[name]), make("dd", {}, make("button", { type: "button", class: "num", "aria-label": `${titles[name]}: ${tree.shown}. How did it come about?`, on: { click: () => onNumber(name) } }, tree.shown))));
    return this.card("Break-even", make("h3", {}, "Cost over tokens"),
      make("ul", { class: "legend" }, make("li", {}, make("span", { class: "swatch s1" }), compared.machines), compared.api ? make("li", {}, make("span", { class: "swatch s2" }), compared.api) : null),
      make("p", { class: "reason" }, compared.api ? `Break-even: ${compared.reason}.` : compared.reason), costChart(compared, onNumber), make("dl", { class: "facts" }, ...legend),
      compared.curve.length ? chartTable("Cost a month", ["Mtok a month", "API", "Machines", "How many"], compared.curve.map((point) => [digits(point.mtok_per_month), usd(point.api_usd_per_month), usd(point.own_usd_per_month), String(point.machines)])) : null);
  }

  evidence({ evidence, risks, stale }) {
    const scores = evidence.map(({ benchmark, value, origin, url }) => make("li", {}, make("strong", {}, `${this.titles.get(benchmark) ?? benchmark} ${digits(value)}`), " ", /^https:\/\//.test(url) ? make("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, origin) : origin));
    return this.card("Quality and risks", make("h3", {}, "Quality and risks"), make("div", { class: "two" },
      make("div", {}, make("h4", {}, "Quality, as published or measured"), scores.length ? make("ul", {}, ...scores) : make("p", { class: "note" }, "No score is known.")),
      make("div", {}, make("h4", {}, "Risks"), make("ul", {}, ...[...risks, ...stale].map((text) => make("li", {}, text))))));
  }

  rejected() {
    const { rejected } = this.plan;
    if (!rejected.length) return make("div");
    const counts = new Map();
    for (const row of rejected) for (const { constraint } of row.failures) counts.set(constraint, (counts.get(constraint) ?? 0) + 1);
    const filters = [...counts].sort((a, b) => b[1] - a[1]).map(([name, many]) => make("button", { type: "button", class: "filter", "aria-pressed": String(this.failing === name), "data-focus": `filter ${name}`, on: { click: () => { this.failing = this.failing === name ? null : name; this.shown = REJECTED_SHOWN; this.draw(); } } }, `${name} `, make("span", {}, String(many))));
    const kept = rejected.filter((row) => !this.failing || row.failures.some(({ constraint }) => constraint === this.failing));
    const items = kept.slice(0, this.shown).map((row) => make("li", { class: row.id === this.chosen ? "chosen" : null },
      make("div", { class: "rejected-head" }, make("button", { type: "button", class: "pick", "aria-pressed": String(row.id === this.chosen), "data-focus": `pick ${row.id}`, on: { click: () => this.choose(row.id) } }, row.label), this.number(row, "usd_per_month")),
      make("ul", { class: "failures" }, ...row.failures.map(failureOf))));
    const more = kept.length > this.shown ? make("button", { type: "button", class: "plain", "data-focus": "more", on: { click: () => { this.shown += 50; this.draw(); } } }, `Show more of ${kept.length}`) : null;
    const open = this.folds.get("Rejected") ?? !NARROW.matches;
    const details = make("details", { class: "fold", open }, make("summary", {}, make("h2", {}, `${rejected.length} rejected`)),
      make("div", { class: "filters", role: "group", "aria-label": "Rejected for" }, ...filters), make("ul", { class: "rejected" }, ...items), ...(more ? [more] : []));
    details.addEventListener("toggle", () => this.folds.set("Rejected", details.open));
    return make("section", { "aria-label": "Rejected" }, details);
  }

  notes() {
    const { warnings } = this.plan;
    return warnings.length ? make("section", { class: "notes", "aria-label": "Notes" }, make("h2", {}, "Notes"), make("ul", {}, ...warnings.map((text) => make("li", {}, text)))) : make("div");
  }
}

/** The interval of a computed time or speed, or that no measurement backs it. */
function withinOf(row, name) {
  if (!TIMES.has(name)) return null;
  const [, , , low, high] = row.numbers[name];
  return make("span", { class: "within" }, low === undefined ? "not validated" : `${figure(name, low)} to ${figure(name, high)}`);
}

const kindOf = (row) => make("span", { class: `kind ${row.kind}` }, KINDS[row.kind] ?? row.kind);
const rankOf = (row) => Number(row.id.slice(1)) + 1;
const unknownOf = (row) => `Not known to meet the limit on ${row.unknowns.join(" and ")}, which cannot be known from here: wayra bench URL measures it.`;
const failureOf = ({ constraint, reason }) => make("li", {}, make("strong", {}, constraint), ` ${reason}`);
