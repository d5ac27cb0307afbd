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

/** How wide a text of a chart is. */
const textWidth = (() => {
  let pen = null;
  return (text) => {
    if (!pen) {
      pen = document.createElement("canvas").getContext("2d");
      pen.font = `11.5px ${getComputedStyle(document.body).fontFamily}`;
    }
    return pen.measureText(text).width;
  };
})();
const TEXT_GAP = 6;
const ROW_HEIGHT = 15;

/** Whether the text of a mark meets the line or the text of another. Lines reach up to the row of their text. */
function meets(one, other) {
  const apart = one.to + TEXT_GAP <= other.from || other.to + TEXT_GAP <= one.from;
  const crosses = (text, line) => line.row >= text.row && line.at > text.from - 3 && line.at < text.to + 3;
  return (one.row === other.row && !apart) || crosses(one, other) || crosses(other, one);
}

/**
 * Where texts of upright lines stand above a drawing: in which row, on which side, so that none meets another nor its line.
 * marks: [{at, text}]; width: of the drawing. The arrangement with the fewest rows.
 */
function placeTexts(marks, width) {
  const places = (mark) => [...marks.keys()].flatMap((row) => [[mark.at + 5, row, "start"], [mark.at - 5 - textWidth(mark.text), row, "end"]])
    .map(([from, row, anchor]) => ({ ...mark, row, anchor, from, to: from + textWidth(mark.text) })).filter(({ from, to }) => from >= 0 && to <= width);
  let best = null;
  const place = (rest, placed, rows) => {
    if (best && rows >= best.rows) return;
    if (!rest.length) {
      best = { rows, placed };
      return;
    }
    for (const one of places(rest[0])) if (!placed.some((other) => meets(one, other))) place(rest.slice(1), [...placed, one], rows + one.row);
  };
  place(marks, [], 0);
  return best?.placed ?? [];
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
    Object.assign(this, { left: 52, right: width - 14, bottom: height - 40 });
    this.placed = placeTexts((this.spec.marks ?? []).filter(({ x: at }) => at >= x.low && at <= x.high).map((mark) => ({ ...mark, at: this.atX(mark.x) })), width);
    this.top = 16 + ROW_HEIGHT * Math.max(0, ...this.placed.map(({ row }) => row));
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
    let above = Infinity;
    for (const tick of logTicks(y.low, y.high, 6)) {
      const at = this.atY(tick);
      if (above - at < 14) continue;
      above = at;
      nodes.push(shape("line", { class: "grid", x1: this.left, x2: this.right, y1: at, y2: at }));
      nodes.push(shape("text", { class: "tick", x: this.left - 6, y: at + 4, "text-anchor": "end" }, y.show(tick)));
    }
    let before = -Infinity;
    for (const tick of logTicks(x.low, x.high, this.width < 420 ? 5 : 9)) {
      const at = this.atX(tick);
      const half = textWidth(x.show(tick)) / 2;
      if (at - half < before + TEXT_GAP) continue;
      before = at + half;
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
      const line = shape("line", { class: "limit", x1: this.left, x2: this.right, y1: at, y2: at });
      return [line, shape("text", { class: "limit-text", ...this.freeBeside(at, textWidth(text)) }, text)];
    });
  }

  /** Where a text beside a level crosses no line: above or below it, at its beginning or end, if anywhere. */
  freeBeside(level, width) {
    const corners = [this.left + 6, this.right - 6 - width].flatMap((x) => [{ x, y: level - 5 }, { x, y: level + 14 }]);
    const drawn = this.spec.lines.flatMap(({ points }) => points.slice(1).flatMap(([x, y], place) => between([this.atX(points[place][0]), this.atY(points[place][1])], [this.atX(x), this.atY(y)])));
    const upright = this.placed.flatMap(({ at }) => between([at, this.top], [at, this.bottom]));
    const isFree = ({ x, y }) => y - 10 > this.top - 8 && y < this.bottom && [...drawn, ...upright].every(([px, py]) => px < x - 4 || px > x + width + 4 || py < y - 15 || py > y + 8);
    return corners.find(isFree) ?? corners[0];
  }

  marks() {
    return this.placed.flatMap(({ at, text, row, anchor, of = "" }) => {
      const y = this.top - 5 - row * ROW_HEIGHT;
      return [
        shape("line", { class: `mark ${of}`, x1: at, x2: at, y1: y - 8, y2: this.bottom }),
        shape("text", { class: "mark-text", x: at + (anchor === "end" ? -5 : 5), y, "text-anchor": anchor }, text),
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

/** Points along a straight line, a few pixels apart. */
function between([x, y], [toX, toY]) {
  const steps = Math.ceil(Math.hypot(toX - x, toY - y) / 4) || 1;
  return Array.from({ length: steps + 1 }, (_, place) => [x + ((toX - x) * place) / steps, y + ((toY - y) * place) / steps]);
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
  const { points } = paces;
  const xs = points.map((point) => point[over]);
  const x = { label: over === "batch" ? "sequences at once" : "requests a second, one machine", low: Math.min(...xs), high: Math.max(...xs) * 1.0001, show: brief };
  if (x.low === x.high || points.length < 2) return [];
  const chart = (key, title, limit) => {
    const ys = points.map((point) => point[key]);
    const marks = paces.carried === null ? [] : [{ x: points.find(({ batch }) => batch === paces.carried)[over], text: "at the peak" }];
    const levels = limit ? [{ y: limit, text: `limit ${seconds(limit)}` }] : [];
    const known = points.filter((point) => point.within[key]);
    const top = Math.max(...ys, ...known.map((point) => point.within[key][1]));
    const bottom = Math.min(...ys, ...known.map((point) => point.within[key][0]));
    const y = { label: title, low: bottom / 1.25, high: Math.max(top, limit && limit < top * 4 ? limit : 0) * 1.25, show: seconds };
    const dots = points.map((point) => ({ x: point[over], y: point[key], of: point.batch === paces.carried ? "s1 here" : "s1", text: `${title}: ${seconds(point[key])} with ${count(point.batch, "sequence")} at once`, onClick: () => onPoint(point.batch, key) }));
    const drawn = new Chart({
      label: `${title} over ${x.label}`, x, y, levels, marks, dots,
      lines: [{ points: points.map((point) => [point[over], point[key]]), of: "s1" }],
      bands: known.length > 1 ? [{ points: known.map((point) => [point[over], ...point.within[key]]), of: "s1" }] : [],
    });
    return make("figure", {}, make("figcaption", {}, known.length === points.length ? title : `${title} (${known.length ? "not validated where not shaded" : "not validated"})`), drawn.node);
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
