// How a number came about: its formula, the same with its numbers, and every input down to its source.

class Explanation {
  constructor(dialog) {
    this.dialog = dialog;
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  /** tree: a number with its inputs; heading: what it is called on the page. */
  show(heading, tree, context = "") {
    const close = iconButton("cross", "Close", () => this.dialog.close());
    this.dialog.replaceChildren(
      make("div", { class: "dialog-head" }, make("h2", { id: "explain-title" }, heading), close),
      make("div", { class: "dialog-body", tabindex: "0", role: "group", "aria-label": "Derivation" },
        make("p", { class: "answer" }, tree.shown),
        context ? make("p", { class: "note" }, context) : null,
        nodeOf(tree, 0, new Set())),
    );
    if (!this.dialog.open) this.dialog.showModal();
    close.focus();
  }
}

// Not the "e6" of 1e6.
const NAMES = /(?<![\w.])[A-Za-z_]\w*/g;

/** A formula with the values of its inputs in it; null where it is words. */
function filled({ formula, inputs }) {
  const values = new Map(inputs.map(({ name, value }) => [name, value]));
  const names = formula.match(NAMES) ?? [];
  if (!names.length || !names.every((name) => values.has(name) || ["min", "max", "ceil", "floor", "sqrt", "log", "exp", "abs"].includes(name))) return null;
  return pretty(formula.replace(NAMES, (name) => (values.has(name) ? digits(values.get(name)) : name)));
}

const pretty = (formula) => formula.replaceAll(" ** ", " ^ ").replaceAll(" * ", " × ").replaceAll(" / ", " ÷ ").replaceAll(" - ", " − ");

function reasons(tree) {
  const lines = [];
  const numbers = filled(tree);
  if (tree.formula) lines.push(numbers === null ? make("p", {}, tree.formula) : make("p", { class: "formula" }, make("code", {}, pretty(tree.formula)), make("code", {}, `= ${numbers}`)));
  if (tree.note) lines.push(make("p", { class: "note" }, tree.note));
  if (tree.source) lines.push(make("p", { class: "note" }, `Source: ${tree.source}`));
  return lines;
}

/** The first two steps lie open; what was explained above is only named again. */
function nodeOf(tree, depth, seen) {
  const key = `${tree.name} ${tree.value}`;
  const known = seen.has(key);
  seen.add(key);
  const head = [make("span", { class: "what" }, words(tree.name)), make("span", { class: "value" }, tree.shown)];
  if (depth === 0) return make("div", { class: "root" }, ...reasons(tree), ...inputsOf(tree, depth, seen));
  if (known || (!tree.inputs.length && !tree.formula)) {
    return make("div", { class: "leaf" }, make("div", { class: "line" }, ...head), ...(known && tree.inputs.length ? [make("p", { class: "note" }, "explained above")] : reasons(tree)));
  }
  return make("details", { open: depth < 2 }, make("summary", { class: "line" }, ...head), ...reasons(tree), ...inputsOf(tree, depth, seen));
}

function inputsOf(tree, depth, seen) {
  if (!tree.inputs.length) return [];
  return [make("ul", { class: "inputs" }, ...tree.inputs.map((item) => make("li", {}, nodeOf(item, depth + 1, seen))))];
}
