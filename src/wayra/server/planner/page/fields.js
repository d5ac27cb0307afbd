// Fields of the form: each reads and writes one key of the workload.

let fieldCount = 0;
const freshId = (name) => `${name}-${(fieldCount += 1)}`;
const STEPS = 1000;

/** Between a slider's place and a value; `log` for what spans powers of ten. */
function scaleOf({ min, max, log }) {
  if (!log) return { at: (value) => ((value - min) / (max - min)) * STEPS, of: (place) => min + (place / STEPS) * (max - min) };
  const low = Math.log(min);
  const range = Math.log(max) - low;
  return { at: (value) => ((Math.log(Math.max(value, min)) - low) / range) * STEPS, of: (place) => Math.exp(low + (place / STEPS) * range) };
}

/** A value that a slider's place stands for, with no more digits than the hand can mean. */
const rounded = (value, whole) => (whole && value < 100 ? Math.max(1, Math.round(value)) : Number(value.toPrecision(2)));

/**
 * A number with a slider beside it.
 * spec: label, min, max, log, unit, whole, percent; start: a value makes the field one that can be switched off.
 */
function sliderField(workload, path, spec) {
  const { label, unit = "", whole = false, percent = false, start = null } = spec;
  const scale = scaleOf(spec);
  const factor = percent ? 100 : 1;
  const id = freshId(path.at(-1));
  const number = make("input", { type: "number", id, step: "any", inputmode: "decimal", "data-key": path.at(-1), "aria-label": unit ? `${label}, ${unit}` : label });
  const slider = make("input", { type: "range", min: 0, max: STEPS, step: 1, "aria-label": `${label}, slider` });
  const toggle = start === null ? null : make("input", { type: "checkbox", id: `${id}-on` });

  const show = () => {
    const value = workload.get(...path);
    const known = typeof value === "number";
    if (document.activeElement !== number) number.value = known ? Number((value * factor).toPrecision(12)) : "";
    if (known) slider.value = Math.round(scale.at(value));
    slider.setAttribute("aria-valuetext", known ? `${digits(value * factor)} ${unit}`.trim() : "not set");
    if (toggle) {
      toggle.checked = known;
      node.classList.toggle("off", !known);
      number.disabled = slider.disabled = !known;
    }
  };
  number.addEventListener("input", () => {
    workload.set(number.value === "" ? undefined : Number(number.value) / factor, ...path);
    show();
  });
  number.addEventListener("blur", show);
  slider.addEventListener("input", () => {
    workload.set(rounded(scale.of(Number(slider.value)), whole), ...path);
    show();
  });
  toggle?.addEventListener("change", () => {
    workload.set(toggle.checked ? start : undefined, ...path);
    show();
  });
  const title = toggle ? make("label", { class: "choice", for: toggle.id }, toggle, label) : make("label", { for: id }, label);
  const node = make("div", { class: "field slider" }, make("div", { class: "field-head" }, title, make("span", { class: "amount" }, number, make("span", { class: "unit" }, unit))), slider);
  show();
  return node;
}

/** A number without a slider; empty is what the planner assumes. */
function numberField(workload, path, { label, unit = "", assumed }) {
  const id = freshId(path.at(-1));
  const input = make("input", { type: "number", id, step: "any", inputmode: "decimal", "data-key": path.at(-1), placeholder: digits(assumed) });
  input.value = workload.get(...path) ?? "";
  input.addEventListener("input", () => workload.set(input.value === "" ? undefined : Number(input.value), ...path));
  return make("div", { class: "field-head" }, make("label", { for: id }, label), make("span", { class: "amount" }, input, make("span", { class: "unit" }, unit)));
}

function textField(workload, path, { label, placeholder = "" }) {
  const id = freshId(path.at(-1));
  const input = make("input", { id, placeholder, maxlength: 200, "data-key": path.at(-1), spellcheck: "false" });
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
function namedRows({ read, write, choices, what, min, max, step, start, add }, redraw) {
  const table = read() ?? {};
  const free = () => choices.find(([name]) => !(name in table));
  const rows = Object.entries(table).map(([name, value]) => {
    const select = selectOf(choices.filter(([other]) => other === name || !(other in table)), name, what, (chosen) => {
      write(Object.fromEntries(Object.entries(table).map(([key, one]) => [key === name ? chosen : key, one])));
      redraw();
    });
    const number = make("input", { type: "number", min, max, step, value, inputmode: "decimal", "data-key": name, "aria-label": `${what}: ${name}` });
    number.addEventListener("input", () => write({ ...read(), [name]: Number(number.value) }));
    const drop = iconButton("cross", `Remove ${name}`, () => {
      const { [name]: _, ...rest } = table;
      write(rest);
      redraw();
    });
    return make("div", { class: "pair" }, select, number, drop);
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
