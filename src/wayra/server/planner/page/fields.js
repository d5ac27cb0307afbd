// Fields of the form: each reads and writes one key of the workload, and tells what is wrong with a number beside it.

let fieldCount = 0;
const freshId = (name) => `${name}-${(fieldCount += 1)}`;

/** Values a slider stops at: round ones, so that every press of an arrow key moves it on. */
function stopsOf({ min, max, log, whole, percent, binary }) {
  const stops = [min, max];
  if (!log) {
    const step = percent ? 0.01 : (max - min) / 100;
    for (let value = min; value < max; value += step) stops.push(Number(value.toPrecision(6)));
  } else if (binary) {
    for (let power = 1; power <= max; power *= 2) stops.push(power, 1.25 * power, 1.5 * power, 1.75 * power);
  } else {
    const leads = [...range(10, 20, 1), ...range(20, 50, 2), ...range(50, 100, 5)];
    for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power += 1) {
      for (const lead of leads) stops.push(Number(`${lead}e${power - 1}`));
    }
  }
  const kept = stops.filter((value) => value >= min && value <= max && (!whole || Number.isInteger(value)));
  return [...new Set(kept)].sort((a, b) => a - b);
}

const range = (from, to, step) => Array.from({ length: Math.ceil((to - from) / step) }, (_, place) => from + place * step);

/** Where a value stands among the stops: at the nearest. */
function placeOf(value, stops, log) {
  const far = (stop) => (log ? Math.abs(Math.log(Math.max(value, stops[0]) / stop)) : Math.abs(value - stop));
  return stops.reduce((best, stop, place) => (far(stop) < far(stops[best]) ? place : best), 0);
}

/** "a whole number from 1 to 100 %": what may be written. */
function spanOf({ bounds: { low, high, whole }, unit = "", factor = 1 }) {
  const what = whole ? "a whole number" : "a number";
  const top = digits(high * factor);
  const least = low * factor;
  // A twelfth of a year is more than 0.08333.
  const from = Number(least.toPrecision(4)) < least ? least * 1.0001 : least;
  return `${what} ${least > 0 && least < 1e-4 ? `above 0, at most ${top}` : `from ${digits(from)} to ${top}`} ${unit}`.trim();
}

/** What is wrong with the text of a number's input, in a sentence that names it; null when nothing is. */
function wrongWith(input, spec) {
  const { label, factor = 1, isOptional = false, bounds: { low, high, whole } } = spec;
  if (input.validity.badInput) return `${label} is no number: write ${spanOf(spec)}.`;
  if (input.value === "") return isOptional ? null : `${label} is empty: write ${spanOf(spec)}.`;
  const value = Number(input.value) / factor;
  if (value >= low && value <= high && (!whole || Number.isInteger(value))) return null;
  return `${label} is ${input.value.slice(0, 20)}: write ${spanOf(spec)}.`;
}

/** Say beside an input what is wrong with it, or that nothing is any more. isOurs: found here, not by the server. */
function mark(input, wrong, isOurs = true) {
  if (wrong) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  input.toggleAttribute("data-wrong", Boolean(wrong) && isOurs);
  const words = document.getElementById(input.getAttribute("aria-describedby"));
  if (words && words.textContent !== (wrong ?? "")) words.textContent = wrong ?? "";
}

/**
 * The input of a number and the words below it. spec: label, unit, bounds, factor by which it is shown, isOptional.
 * write: takes what is right, undefined where nothing is written. What is wrong goes nowhere.
 */
function numberInput({ key, ...spec }, write, attributes = {}) {
  const id = attributes.id ?? freshId(key);
  const words = make("p", { id: `${id}-wrong`, class: "wrong", role: "alert" });
  const input = make("input", { type: "number", id, step: "any", inputmode: "decimal", "data-key": key, "data-label": spec.label, "aria-describedby": words.id, ...attributes });
  input.addEventListener("input", () => {
    const wrong = wrongWith(input, spec);
    mark(input, wrong);
    if (wrong) input.dispatchEvent(new Event("wrong", { bubbles: true }));
    else write(input.value === "" ? undefined : Number(input.value) / (spec.factor ?? 1));
  });
  return { input, words };
}

/**
 * A number with a slider beside it.
 * spec: label, min, max of the slider, log, unit, whole, percent; bounds; start: a value makes the field one that can be switched off;
 * hint: what the label means.
 */
function sliderField(workload, path, spec) {
  const { label, unit = "", percent = false, log = false, start = null } = spec;
  const stops = stopsOf(spec);
  const factor = percent ? 100 : 1;
  const id = freshId(path.at(-1));
  const { input: number, words } = numberInput({ ...spec, key: path.at(-1), factor }, (value) => { workload.set(value, ...path); show(); }, { id, "aria-label": unit ? `${label}, ${unit}` : label });
  const slider = make("input", { type: "range", min: 0, max: stops.length - 1, step: 1, "aria-label": `${label}, slider` });
  const toggle = start === null ? null : make("input", { type: "checkbox", id: `${id}-on` });

  const show = () => {
    const value = workload.get(...path);
    const known = typeof value === "number";
    const isWrong = number.hasAttribute("data-wrong");
    if (document.activeElement !== number && !isWrong) number.value = known ? Number((value * factor).toPrecision(12)) : "";
    if (known) slider.value = placeOf(value, stops, log);
    slider.setAttribute("aria-valuetext", known ? `${digits(value * factor)} ${unit}`.trim() : "not set");
    if (toggle) {
      toggle.checked = known;
      node.classList.toggle("off", !known);
      number.disabled = slider.disabled = !known;
    }
  };
  const put = (value) => {
    mark(number, null);
    workload.set(value, ...path);
    show();
  };
  number.addEventListener("blur", show);
  slider.addEventListener("input", () => put(stops[Number(slider.value)]));
  toggle?.addEventListener("change", () => put(toggle.checked ? start : undefined));
  const title = toggle ? make("label", { class: "choice", for: toggle.id }, toggle, label) : make("label", { for: id }, label);
  const hint = spec.hint ? make("p", { class: "hint" }, spec.hint) : null;
  const node = make("div", { class: "field slider" }, make("div", { class: "field-head" }, title, make("span", { class: "amount" }, number, make("span", { class: "unit" }, unit))), hint, words, slider);
  show();
  return node;
}

/** A number without a slider; empty is what the planner assumes. */
function numberField(workload, path, { label, unit = "", assumed, bounds }) {
  const { input, words } = numberInput({ key: path.at(-1), label, unit, bounds, isOptional: true }, (value) => workload.set(value, ...path), { placeholder: digits(assumed) });
  input.value = workload.get(...path) ?? "";
  return make("div", { class: "field" }, make("div", { class: "field-head" }, make("label", { for: input.id }, label), make("span", { class: "amount" }, input, make("span", { class: "unit" }, unit))), words);
}

function textField(workload, path, { label, placeholder = "" }) {
  const id = freshId(path.at(-1));
  const input = make("input", { id, placeholder, maxlength: 200, "data-key": path.at(-1), "data-label": label, spellcheck: "false" });
  input.value = workload.get(...path) ?? "";
  input.addEventListener("input", () => workload.set(input.value === "" ? undefined : input.value, ...path));
  return make("div", { class: "field text" }, make("label", { for: id }, label), input);
}

function checkField(workload, path, label) {
  const input = make("input", { type: "checkbox" });
  input.checked = workload.get(...path) === true;
  input.addEventListener("change", () => workload.set(input.checked ? true : undefined, ...path));
  return make("label", { class: "choice" }, input, label);
}

function selectOf(options, value, label, onChange) {
  const select = make("select", { "aria-label": label }, ...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = value;
  select.addEventListener("change", () => onChange(select.value));
  return select;
}

/** Rows of name and number, as a table of the workload: floors, cards that are there. redraw: after a row came or went. */
function namedRows({ read, write, choices, what, bounds, start, add }, redraw) {
  const table = read() ?? {};
  const free = () => choices.find(([name]) => !(name in table));
  const rows = Object.entries(table).flatMap(([name, value]) => {
    const select = selectOf(choices.filter(([other]) => other === name || !(other in table)), name, what, (chosen) => {
      write(Object.fromEntries(Object.entries(table).map(([key, one]) => [key === name ? chosen : key, one])));
      redraw();
    });
    const title = choices.find(([other]) => other === name)?.[2] ?? name;
    const { input, words } = numberInput({ key: name, label: title, bounds }, (given) => write({ ...read(), [name]: given }), { value, "aria-label": `${what}: ${title}` });
    const drop = iconButton("cross", `Remove ${title}`, () => {
      const { [name]: _, ...rest } = table;
      write(rest);
      redraw();
    });
    return [make("div", { class: "pair" }, select, input, drop), words];
  });
  const more = make("button", { type: "button", class: "plain add", disabled: !free(), on: { click: () => { write({ ...table, [free()[0]]: start }); redraw(); } } }, icon("plus"), add);
  return make("div", { class: "rows" }, ...rows, more);
}

/** Boxes for a list of names; none is all. */
function chosenField(workload, path, { label, choices }) {
  const chosen = new Set(workload.get(...path) ?? []);
  const boxes = choices.map(([name, text]) => {
    const box = make("input", { type: "checkbox", value: name });
    box.checked = chosen.has(name);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      workload.set(chosen.size ? [...chosen] : undefined, ...path);
      count.textContent = chosen.size ? `${chosen.size} chosen` : "all";
    });
    return make("label", { class: "choice" }, box, text);
  });
  const count = make("span", { class: "note" }, chosen.size ? `${chosen.size} chosen` : "all");
  return make("details", { class: "choices" }, make("summary", {}, make("span", {}, label), count), make("div", { class: "boxes", role: "group", "aria-label": label }, ...boxes));
}
