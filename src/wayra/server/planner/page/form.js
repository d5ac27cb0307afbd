// The form: every key a workload may have, in groups.

const RATES = { requests_per_month: "requests a month", requests_per_s: "requests a second", mtok_per_month: "Mtok a month" };
const SECONDS_PER_MONTH = 730 * 3600;
const PRIVACY_WORDS = { any: "Anyone", "no-third-party": "No third party: no APIs", "on-premises": "On premises: no rented machines either" };
const PRIVACY_SHORT = { "no-third-party": "no third party", "on-premises": "on premises" };
const OWNING = [
  ["years", "Years of use", ""], ["usd_per_kwh", "Price of power", "USD/kWh"], ["pue", "Power of the room by the machine's", ""],
  ["server_factor", "Price of the machine by its cards", ""], ["host_usd", "Price of a host", "USD"], ["busy_power_share", "Average by rated power", ""],
  ["resale_share", "Share got back at the end", ""], ["staff_usd_per_year", "Staff", "USD/year"],
];

const METHOD_WORDS = { cheapest: "LoRA or QLoRA, the cheaper", lora: "LoRA", qlora: "QLoRA", full: "Full" };
const TRAINING = [["epochs", "Passes over the examples"], ["lora_rank", "Rank of adapters"], ["mfu", "Share of the peak reached"]];

/** Groups and the tables of the workload they are about. */
const GROUPS = {
  Traffic: "traffic", Limits: "limits", Quality: "quality", Rules: "rules", Budget: "budget", "Fine-tuning": "fine_tuning", Routes: "route",
  "Hardware already there": "have", Owning: "owning", "Consider only": "choice",
};
/** What refusals of the server speak of where they do not quote a key. */
const SPOKEN_OF = [[/a context of/, "context"], [/routes' shares/, "share"], [/no tokens at all/, "output_tokens"], ...["requests_per_month", "requests_per_s", "mtok_per_month"].map((key) => [/requests a month/, key])];

class Form {
  constructor(node, workload, facts) {
    Object.assign(this, { node, workload, facts, sums: new Map() });
    workload.addEventListener("replaced", () => { this.openSet(); this.draw(); });
    workload.addEventListener("change", () => this.sumUp());
    node.addEventListener("submit", (event) => event.preventDefault());
    this.openSet();
    this.draw();
  }

  /** Groups in which something is set lie open. A phone shows one, and what the others say in a line each. */
  openSet() {
    const isSet = (title) => this.workload.get(GROUPS[title]) !== undefined;
    this.open = new Set(NARROW.matches ? ["Traffic"] : ["Traffic", "Limits", "Quality", ...Object.keys(GROUPS).filter(isSet)]);
  }

  bounds(key) {
    return this.facts.bounds[key];
  }

  /** A field with a slider for a key of a table. */
  slider(table, key, spec) {
    return sliderField(this.workload, [table, key], { bounds: this.bounds(`${table}.${key}`), ...spec });
  }

  draw() {
    const { workload } = this;
    this.node.replaceChildren(
      this.start(),
      this.group("Traffic", this.traffic()),
      this.group("Limits", [
        this.slider("limits", "latency_p95_s", { label: "Whole answer, P95", hint: "19 of 20 answers take no longer, in the busiest minutes.", min: 0.2, max: 300, log: true, unit: "s", start: 10 }),
        this.slider("limits", "ttft_p95_s", { label: "First token, P95", min: 0.02, max: 60, log: true, unit: "s", start: 1.5 }),
        this.slider("limits", "context", { label: "Longest request", hint: "The longest prompt with its answer that must fit.", min: 512, max: 1 << 20, log: true, binary: true, unit: "tokens", whole: true, start: 16384 }),
      ]),
      this.group("Quality", [
        make("p", { class: "note" }, "Floors, in points. A model without a published score on a benchmark does not meet a floor on it."),
        this.floors(() => workload.get("quality"), (table) => workload.set(Object.keys(table).length ? table : undefined, "quality"), () => this.draw()),
      ]),
      this.group("Rules", this.rules()),
      this.group("Budget", [
        this.slider("budget", "usd_per_month", { label: "A month", min: 10, max: 1e6, log: true, unit: "USD", start: 2000 }),
        this.slider("budget", "upfront_usd", { label: "For hardware, once", min: 100, max: 5e6, log: true, unit: "USD", start: 20000 }),
      ]),
      this.group("Fine-tuning", this.tuning()),
      this.group("Routes", this.routes()),
      this.group("Hardware already there", [this.have()]),
      this.group("Owning", [make("p", { class: "note" }, "Empty is what is assumed."), ...OWNING.map(([key, label, unit]) => numberField(workload, ["owning", key], { label, unit, assumed: this.facts.owning[key], bounds: this.bounds(`owning.${key}`) }))]),
      this.group("Consider only", [
        chosenField(workload, ["choice", "models"], { label: "Models", choices: this.facts.models.map(({ name, title }) => [name, title]) }),
        chosenField(workload, ["choice", "gpus"], { label: "Hardware", choices: this.facts.hardware.map(({ name, title }) => [name, title]) }),
      ]),
    );
    this.sumUp();
  }

  start() {
    const { workload, facts } = this;
    const choices = [["", "Start from …"], ...Object.entries(facts.scenarios).map(([key, tables]) => [key, tables.name])];
    const select = selectOf(choices, "", "Scenario", (name) => name && workload.replace(facts.scenarios[name]));
    const name = make("input", { "aria-label": "Name of the workload", value: workload.get("name") ?? "", placeholder: "Name of the workload", maxlength: 200, "data-key": "name", spellcheck: "false" });
    name.addEventListener("input", () => workload.set(name.value || undefined, "name"));
    return make("div", { class: "start" }, make("p", { class: "note" }, "Say what must be served. The plan follows while you do."), name, select);
  }

  group(title, children) {
    const sum = make("span", { class: "sum" });
    this.sums.set(title, sum);
    const details = make("details", { class: "group", open: this.open.has(title) }, make("summary", {}, make("h2", {}, title), sum), make("div", { class: "group-body" }, ...children));
    details.addEventListener("toggle", () => (details.open ? this.open.add(title) : this.open.delete(title)));
    return details;
  }

  /** What is set in each group, in a line, so that nothing decides unseen where it is folded. */
  sumUp() {
    for (const [title, node] of this.sums) node.textContent = this.sumOf(this.workload.get(GROUPS[title]) ?? {}, title).filter(Boolean).join(", ");
  }

  sumOf(table, title) {
    const told = (key, tell) => (typeof table[key] === "number" ? tell(digits(table[key])) : null);
    const named = (names, choices) => names.map(([name, many]) => `${choices.find((one) => one.name === name)?.title ?? name} ${digits(many)}`);
    switch (title) {
      case "Traffic":
        return [told("input_tokens", (n) => `${n} in`), told("output_tokens", (n) => `${n} out`), ...Object.entries(RATES).map(([key, words]) => told(key, (n) => `${n} ${words}`))];
      case "Limits":
        return [told("latency_p95_s", (n) => `answer ${n} s`), told("ttft_p95_s", (n) => `first token ${n} s`), told("context", (n) => `${n} tokens`)];
      case "Rules":
        return [PRIVACY_SHORT[table.privacy], table.region, table.open_weights === true && "open weights"];
      case "Budget":
        return [told("usd_per_month", (n) => `$${n} a month`), told("upfront_usd", (n) => `$${n} once`)];
      case "Fine-tuning":
        return [told("examples", (n) => `${n} examples`), told("runs_per_year", (n) => `${n} × a year`)];
      case "Routes":
        return Array.isArray(table) ? table.map(({ name, share }) => `${name} ${digits(share * 100)} %`) : [];
      case "Quality":
        return named(Object.entries(table), this.facts.benchmarks);
      case "Hardware already there":
        return Object.entries(table).map(([name, many]) => `${digits(many)} × ${this.facts.hardware.find((one) => one.name === name)?.title ?? name}`);
      case "Owning":
        return Object.keys(table).length ? [`${Object.keys(table).length} stated`] : [];
      default:
        return [table.models && count(table.models.length, "model"), table.gpus && `${table.gpus.length} of the hardware`];
    }
  }

  traffic() {
    const { workload } = this;
    const rate = Object.keys(RATES).find((name) => workload.get("traffic", name) !== undefined) ?? "requests_per_month";
    const span = { requests_per_month: [100, 1e9], requests_per_s: [1e-4, 1000], mtok_per_month: [0.1, 1e6] }[rate];
    const each = this.tokensEach() / 1e6;
    const month = this.bounds("traffic.requests_per_month");
    const by = { requests_per_month: 1, requests_per_s: 1 / SECONDS_PER_MONTH, mtok_per_month: each }[rate] || 1;
    const units = selectOf(Object.entries(RATES), rate, "Rate as", (chosen) => {
      const converted = this.rateAs(rate, chosen);
      workload.set(undefined, "traffic", rate);
      workload.set(converted, "traffic", chosen);
      this.draw();
    });
    return [
      this.slider("traffic", "input_tokens", { label: "Prompt", min: 10, max: 200_000, log: true, unit: "tokens", whole: true }),
      this.slider("traffic", "output_tokens", { label: "Answer", min: 1, max: 32_768, log: true, unit: "tokens", whole: true }),
      make("div", { class: "field" }, this.slider("traffic", rate, { label: "Rate", min: span[0], max: span[1], log: true, bounds: { low: month.low * by, high: month.high * by, whole: false } }), units),
      this.slider("traffic", "peak_factor", { label: "Peak over mean", hint: "The busiest minutes by the month's average; 4 where nothing is set.", min: 1, max: 50, log: true, unit: "×", start: 4 }),
      this.slider("traffic", "cached_share", { label: "Prompt in a cache", hint: "Share of a prompt that earlier ones began with.", min: 0, max: 1, unit: "%", percent: true, start: 0.3 }),
    ];
  }

  tokensEach() {
    const { input_tokens: input, output_tokens: output } = this.workload.get("traffic") ?? {};
    return input + output;
  }

  /** The same traffic in another unit. */
  rateAs(from, to) {
    const traffic = this.workload.get("traffic");
    const each = this.tokensEach() / 1e6;
    const perMonth = { requests_per_month: 1, requests_per_s: SECONDS_PER_MONTH, mtok_per_month: 1 / each };
    const value = (traffic[from] * perMonth[from]) / perMonth[to];
    return Number.isFinite(value) ? Number(value.toPrecision(6)) : 1;
  }

  rules() {
    const { workload, facts } = this;
    const name = freshId("privacy");
    const radios = facts.privacy.map((value) => {
      const radio = make("input", { type: "radio", name, value });
      radio.checked = (workload.get("rules", "privacy") ?? "any") === value;
      radio.addEventListener("change", () => workload.set(value === "any" ? undefined : value, "rules", "privacy"));
      return make("label", { class: "choice" }, radio, PRIVACY_WORDS[value] ?? value);
    });
    return [
      make("fieldset", {}, make("legend", {}, "Who may see the requests"), ...radios),
      textField(workload, ["rules", "region"], { label: "Where data must stay", placeholder: "anywhere" }),
      checkField(workload, ["rules", "open_weights"], "Only open weights"),
    ];
  }

  floors(read, write, redraw) {
    const choices = this.facts.benchmarks.map(({ name, title, models }) => [name, `${title} · ${count(models, "model")}`, title]);
    const first = choices.find(([name]) => name === "mmlu");
    return namedRows({ read, write, choices: first ? [first, ...choices.filter((one) => one !== first)] : choices, what: "Benchmark", bounds: this.bounds("quality"), start: 70, add: "Floor" }, redraw);
  }

  tuning() {
    const { workload } = this;
    const wanted = workload.get("fine_tuning") !== undefined;
    const box = make("input", { type: "checkbox" });
    box.checked = wanted;
    box.addEventListener("change", () => {
      this.open.add("Fine-tuning");
      workload.set(box.checked ? { examples: 20_000, tokens_per_example: 1024, runs_per_year: 4 } : undefined, "fine_tuning");
      this.draw();
    });
    return [
      make("label", { class: "choice" }, box, "The model is fine-tuned"),
      ...(wanted ? [
        this.slider("fine_tuning", "examples", { label: "Examples", min: 100, max: 1e7, log: true, whole: true }),
        this.slider("fine_tuning", "tokens_per_example", { label: "Tokens of an example", min: 16, max: 32_768, log: true, whole: true }),
        this.slider("fine_tuning", "runs_per_year", { label: "Runs a year", min: 1, max: 365, log: true, whole: true }),
        make("div", { class: "field text" }, make("span", { class: "label", "aria-hidden": "true" }, "Method"), selectOf(this.facts.methods.map((name) => [name, METHOD_WORDS[name] ?? name]), workload.get("fine_tuning", "method") ?? "cheapest", "Method of training", (method) => workload.set(method === "cheapest" ? undefined : method, "fine_tuning", "method"))),
        ...TRAINING.map(([key, label]) => numberField(workload, ["fine_tuning", key], { label, assumed: this.facts.training[key], bounds: this.bounds(`fine_tuning.${key}`) })),
      ] : []),
    ];
  }

  routes() {
    const { workload } = this;
    const routes = workload.get("route") ?? [];
    const write = (rows) => workload.set(rows.length ? rows : undefined, "route");
    const rows = routes.map((route, place) => {
      const change = (key, value) => write((workload.get("route") ?? []).map((one, i) => (i === place ? { ...one, [key]: value } : one)));
      const name = make("input", { "aria-label": `Name of route ${place + 1}`, value: route.name ?? "", maxlength: 80, spellcheck: "false" });
      name.addEventListener("input", () => change("name", name.value));
      const { input: share, words } = numberInput({ key: "share", label: `Share of route ${place + 1}`, unit: "%", factor: 100, bounds: this.bounds("route.share") }, (value) => change("share", value), { "aria-label": `Share of route ${place + 1}, %`, value: Number(((route.share ?? 0) * 100).toPrecision(12)) });
      const drop = iconButton("cross", `Remove route ${route.name ?? place + 1}`, () => { write(routes.filter((_, i) => i !== place)); this.draw(); });
      const head = make("div", { class: "pair" }, name, make("span", { class: "amount" }, share, make("span", { class: "unit" }, "%")), drop);
      return make("div", { class: "route" }, head, words, this.floors(() => workload.get("route")?.[place]?.quality, (table) => change("quality", table), () => this.draw()));
    });
    const add = make("button", { type: "button", class: "plain add", disabled: routes.length >= 8, on: { click: () => {
      this.open.add("Routes");
      const left = Math.max(0, 1 - routes.reduce((sum, route) => sum + (route.share ?? 0), 0));
      write(routes.length ? [...routes, { name: `route ${routes.length + 1}`, share: Number(left.toPrecision(3)), quality: {} }] : [{ name: "easy", share: 0.8, quality: { mmlu: 65 } }, { name: "hard", share: 0.2, quality: { mmlu: 85 } }]);
      this.draw();
    } } }, icon("plus"), "Route");
    return [make("p", { class: "note" }, "Parts of the requests with floors of their own; their shares add up to 100 %."), ...rows, add];
  }

  have() {
    const { workload } = this;
    const choices = this.facts.hardware.map(({ name, title }) => [name, title, title]);
    const write = (table) => workload.set(Object.keys(table).length ? table : undefined, "have");
    return namedRows({ read: () => workload.get("have"), write, choices, what: "Hardware", bounds: this.bounds("have"), start: 1, add: "Hardware" }, () => { this.open.add("Hardware already there"); this.draw(); });
  }

  /** The first number that is wrong as it stands: its input; null when all are right. */
  get wrong() {
    return this.node.querySelector("[data-wrong]");
  }

  /** Mark the field that a refusal of the server names, and return it; null when it names none, or nothing is refused. */
  blame(message) {
    for (const input of this.node.querySelectorAll("[aria-invalid]:not([data-wrong])")) mark(input, null);
    if (!message) return null;
    const spoken = SPOKEN_OF.filter(([words]) => words.test(message)).map(([, key]) => key);
    const input = [...this.node.querySelectorAll("[data-key]")].find(({ dataset: { key } }) => spoken.includes(key) || message.includes(`'${key}'`));
    if (input) mark(input, `${input.dataset.label ?? "This"}: ${message}`, false);
    return input ?? null;
  }

  /** Bring a field into sight and the hand to it. */
  goTo(input) {
    for (let group = input.closest("details"); group; group = group.parentElement.closest("details")) group.open = true;
    input.focus({ preventScroll: true });
    input.scrollIntoView({ block: "center" });
  }
}
