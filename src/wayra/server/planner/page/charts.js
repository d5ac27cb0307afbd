// Line charts as SVG, drawn at the width they have; each is also a table for those who do not see it.

function shape(name, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

/** Whole powers of ten of a span, with numbers between them where there is room. */
function logTicks(low, high, most) {
  const ticks = [];
  const leads = high / low < 8 ? [1, 1.5, 2, 3, 4, 5, 7] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const lead of leads) ticks.push(lead * 10 ** power);
  }
  const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  if (inside.length <= most) return inside;
  const tens = inside.filter((tick) => Math.abs(Math.log10(tick) - Math.round(Math.log10(tick))) < 1e-9);
  const every = Math.ceil(tens.length / most);
  return tens.filter((_, place) => place % every === 0);
}

/**
 * spec: x, y {label, low, high, show}; lines [{points, of}]; bands [{points of [x, low, high]}]; marks [{x, text}] upright,
 * levels [{y, text}] across, dots [{x, y, text, of, onClick}]. Both axes are logarithmic.
 */
class Chart {
  constructor(spec) {
    this.spec = spec;
    this.node = make("div", { class: "chart-box" });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.node);
  }

  draw() {
    const width = Math.floor(this.node.clientWidth);
    if (!width || width === this.width) return;
    this.width = width;
    const { x, y } = this.spec;
    const height = Math.round(Math.min(280, Math.max(200, width * 0.55)));
    Object.assign(this, { left: 52, right: width - 14, top: 16, bottom: height - 40 });
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": this.spec.label });
    svg.append(...this.axes(x, y, height), ...this.bands(), ...this.levels(), ...this.marks(), ...this.lines());
    this.node.replaceChildren(svg, ...this.dots());
  }

  atX(value) {
    const { low, high } = this.spec.x;
    return this.left + ((Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low) || 1)) * (this.right - this.left);
  }

  atY(value) {
    const { low, high } = this.spec.y;
    const share = (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low) || 1);
    return this.bottom - Math.min(1.02, Math.max(-0.02, share)) * (this.bottom - this.top);
  }

  axes(x, y, height) {
    const nodes = [];
    for (const tick of logTicks(y.low, y.high, 6)) {
      const at = this.atY(tick);
      nodes.push(shape("line", { class: "grid", x1: this.left, x2: this.right, y1: at, y2: at }));
      nodes.push(shape("text", { class: "tick", x: this.left - 6, y: at + 4, "text-anchor": "end" }, y.show(tick)));
    }
    for (const tick of logTicks(x.low, x.high, this.width < 420 ? 5 : 9)) {
      const at = this.atX(tick);
      nodes.push(shape("line", { class: "grid", x1: at, x2: at, y1: this.top, y2: this.bottom }));
      nodes.push(shape("text", { class: "tick", x: at, y: this.bottom + 16, "text-anchor": "middle" }, x.show(tick)));
    }
    nodes.push(shape("text", { class: "axis", x: (this.left + this.right) / 2, y: height - 5, "text-anchor": "middle" }, x.label));
    return nodes;
  }

  path(points) {
    return points.map(([px, py], place) => `${place ? "L" : "M"}${this.atX(px).toFixed(1)} ${this.atY(py).toFixed(1)}`).join("");
  }

  lines() {
    return this.spec.lines.map(({ points, of }) => shape("path", { class: `line ${of}`, d: this.path(points) }));
  }

  bands() {
    return (this.spec.bands ?? []).map(({ points, of }) => {
      const there = points.map(([px, low]) => [px, low]);
      const back = points.map(([px, , high]) => [px, high]).reverse();
      return shape("path", { class: `band ${of}`, d: `${this.path([...there, ...back])}Z` });
    });
  }

  levels() {
    return (this.spec.levels ?? []).filter(({ y }) => y >= this.spec.y.low && y <= this.spec.y.high).flatMap(({ y, text }) => {
      const at = this.atY(y);
      return [shape("line", { class: "limit", x1: this.left, x2: this.right, y1: at, y2: at }), shape("text", { class: "limit-text", x: this.left + 6, y: at - 5 }, text)];
    });
  }

  marks() {
    const seen = [];
    return (this.spec.marks ?? []).filter(({ x }) => x >= this.spec.x.low && x <= this.spec.x.high).flatMap(({ x, text, of = "" }) => {
      const at = this.atX(x);
      // Texts of marks that stand close together go below one another.
      const row = seen.filter((other) => Math.abs(other - at) < 130).length;
      seen.push(at);
      const end = at > (this.left + this.right) / 2;
      return [
        shape("line", { class: `mark ${of}`, x1: at, x2: at, y1: this.top, y2: this.bottom }),
        shape("text", { class: "mark-text", x: at + (end ? -5 : 5), y: this.top + 11 + row * 15, "text-anchor": end ? "end" : "start" }, text),
      ];
    });
  }

  /** Buttons over the drawing: a point says what it is, and how it came about when it is asked. */
  dots() {
    return (this.spec.dots ?? []).map(({ x, y, text, of, onClick }) => {
      const dot = make("button", { type: "button", class: `dot ${of}`, "aria-label": text, title: text, on: { click: onClick } });
      dot.style.left = `${this.atX(x)}px`;
      dot.style.top = `${this.atY(y)}px`;
      return dot;
    });
  }
}

/** The numbers of a chart as a table that can be opened. */
function chartTable(caption, columns, rows) {
  return make("details", { class: "as-table" }, make("summary", {}, "As a table"),
    make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
      make("table", {}, make("caption", { class: "hidden" }, caption),
        make("thead", {}, make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, column)))),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))))));
}

/** First token and time per output token over the batch or the load, with the prediction's interval. */
function paceCharts(paces, over, onPoint) {
  const { points, low, high } = paces;
  const xs = points.map((point) => point[over]);
  const x = { label: over === "batch" ? "sequences at once" : "requests a second, one machine", low: Math.min(...xs), high: Math.max(...xs) * 1.0001, show: brief };
  if (x.low === x.high || points.length < 2) return [];
  const chart = (key, title, limit) => {
    const ys = points.map((point) => point[key]);
    const marks = paces.carried === null ? [] : [{ x: points.find(({ batch }) => batch === paces.carried)[over], text: "at the peak" }];
    const levels = limit ? [{ y: limit, text: `limit ${seconds(limit)}` }] : [];
    const top = Math.max(...ys) * high;
    const bottom = Math.min(...ys) * low;
    const y = { label: title, low: bottom / 1.25, high: Math.max(top, limit && limit < top * 4 ? limit : 0) * 1.25, show: seconds };
    const dots = points.map((point) => ({ x: point[over], y: point[key], of: point.batch === paces.carried ? "s1 here" : "s1", text: `${title}: ${seconds(point[key])} with ${count(point.batch, "sequence")} at once`, onClick: () => onPoint(point.batch, key) }));
    const drawn = new Chart({
      label: `${title} over ${x.label}`, x, y, levels, marks, dots,
      lines: [{ points: points.map((point) => [point[over], point[key]]), of: "s1" }],
      bands: [{ points: points.map((point) => [point[over], point[key] * low, point[key] * high]), of: "s1" }],
    });
    return make("figure", {}, make("figcaption", {}, title), drawn.node);
  };
  const shown = [["ttft_s", "Time to first token", paces.ttft_limit_s], ["tpot_s", "Time per output token", null], ["latency_s", "Whole answer", paces.latency_limit_s]];
  return shown.filter(([key]) => points.every((point) => point[key] > 0)).map((one) => chart(...one));
}

/** What volumes cost by the machine and, where there is an API to compare with, by the token. */
function costChart(compared, onNumber) {
  const price = compared.numbers.api?.value ?? null;
  const fixed = compared.numbers.machine.value;
  const ceiling = compared.capacity_mtok_per_month;
  const now = compared.now_mtok_per_month;
  const even = compared.mtok_per_month;
  const known = [now, even, price && fixed / price, ceiling].filter((value) => value > 0);
  const low = Math.min(...known) / 5;
  const high = Math.max(...known) * 4;
  const machines = (volume) => Math.max(1, Math.ceil(volume / ceiling - 1e-9)) * fixed;
  const steps = [[low, fixed]];
  // Beyond a few dozen machines the stairs are a line to the eye.
  for (let n = 1; n < 60 && n * ceiling < high; n += 1) steps.push([n * ceiling, n * fixed], [n * ceiling, (n + 1) * fixed]);
  const last = steps.at(-1)[0];
  if (Math.ceil(high / ceiling) > 60) steps.push([high, (high / ceiling) * fixed]);
  else steps.push([high, machines(Math.max(high, last))]);
  const costs = price === null ? [fixed, machines(high)] : [low * price, high * price, fixed, machines(high)];
  const dots = [
    ...(price === null ? [] : [{ x: now, y: now * price, of: "s2 here", text: `The API at this workload: ${usd(now * price)} a month`, onClick: () => onNumber("api") }]),
    { x: now, y: machines(now), of: "s1 here", text: `Machines at this workload: ${usd(machines(now))} a month`, onClick: () => onNumber("machine") },
  ];
  if (even !== null) dots.push({ x: even, y: fixed, of: "even", text: `Break-even at ${digits(even)} Mtok a month`, onClick: () => onNumber("volume") });
  const marks = [{ x: now, text: "this workload" }, { x: ceiling, text: "one machine is full", of: "ceiling" }];
  if (even !== null) marks.push({ x: even, text: "break-even", of: "even" });
  return new Chart({
    label: price === null ? "Cost a month over tokens a month, by machines" : "Cost a month over tokens a month, by API and by machines",
    x: { label: "million tokens a month", low, high, show: brief },
    y: { low: Math.min(...costs) / 1.5, high: Math.max(...costs) * 1.5, show: (value) => `$${brief(value)}` },
    lines: [...(price === null ? [] : [{ points: [[low, low * price], [high, high * price]], of: "s2" }]), { points: steps, of: "s1" }],
    marks, dots,
  }).node;
}
