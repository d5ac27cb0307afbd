// How a number came about: its formula, the same with its numbers, and every input down to its source.

class Explanation {
  /** labels: what the names of a formula are called. */
  constructor(dialog, labels) {
    Object.assign(this, { dialog, labels });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  /** tree: a number with its inputs; heading: what it is called on the page. */
  show(heading, tree, context = "") {
    const close = iconButton("cross", "Close", () => this.dialog.close());
    this.dialog.replaceChildren(
      make("div", { class: "dialog-head" }, make("h2", { id: "explain-title" }, heading), close),
      make("div", { class: "dialog-body", tabindex: "0", role: "group", "aria-label": "Derivation" },
        make("p", { class: "answer" }, shownShort(tree)),
        context ? make("p", { class: "note" }, context) : null,
        this.nodeOf(tree, 0, new Set())),
    );
    if (!this.dialog.open) this.dialog.showModal();
    close.focus();
  }

  /** "rent_usd_per_h" is "rent of a card an hour"; a name nobody named is at least no code. */
  called(name) {
    return Object.hasOwn(this.labels, name) ? this.labels[name] : name.replaceAll("_", " ");
  }

  /** A formula with its names in words. */
  inWords(formula) {
    const pieces = formula.split(new RegExp(`(${NAMES.source})`));
    return make("p", { class: "in-words" }, ...pieces.map((piece, place) => (place % 2 && !FUNCTIONS.has(piece) ? make("span", { class: "term" }, this.called(piece)) : pretty(FUNCTION_WORDS[piece] ?? piece))));
  }

  reasons(tree) {
    const lines = [];
    const numbers = filled(tree);
    if (tree.formula) lines.push(numbers === null ? make("p", {}, tree.formula) : make("div", { class: "formula" }, this.inWords(tree.formula), make("code", {}, `= ${numbers}`)));
    if (tree.note) lines.push(make("p", { class: "note" }, tree.note));
    if (tree.source) lines.push(make("p", { class: "note" }, `Source: ${tree.source}`));
    return lines;
  }

  /** The first two steps lie open; what was explained above is only named again. */
  nodeOf(tree, depth, seen) {
    const key = `${tree.name} ${tree.value}`;
    const known = seen.has(key);
    seen.add(key);
    const head = [make("span", { class: "what" }, this.called(tree.name)), make("span", { class: "value" }, shownShort(tree))];
    if (depth === 0) return make("div", { class: "root" }, ...this.reasons(tree), ...this.inputsOf(tree, depth, seen));
    if (known || (!tree.inputs.length && !tree.formula)) {
      return make("div", { class: "leaf" }, make("div", { class: "line" }, ...head), ...(known && tree.inputs.length ? [make("p", { class: "note" }, "explained above")] : this.reasons(tree)));
    }
    return make("details", { open: depth < 2 }, make("summary", { class: "line" }, ...head), ...this.reasons(tree), ...this.inputsOf(tree, depth, seen));
  }

  inputsOf(tree, depth, seen) {
    if (!tree.inputs.length) return [];
    return [make("ul", { class: "inputs" }, ...tree.inputs.map((item) => make("li", {}, this.nodeOf(item, depth + 1, seen))))];
  }
}

const FUNCTION_WORDS = { min: "smaller of ", max: "larger of ", ceil: "rounded up ", floor: "rounded down ", sqrt: "√", log: "log ", exp: "exp ", abs: "size of " };
const FUNCTIONS = new Set(Object.keys(FUNCTION_WORDS));
// Not the "e6" of 1e6.
const NAMES = /(?<![\w.])[A-Za-z_]\w*/g;

/** A formula with the values of its inputs in it; null where it is words. */
function filled({ formula, inputs }) {
  const values = new Map(inputs.map(({ name, value }) => [name, value]));
  const names = formula.match(NAMES) ?? [];
  if (!names.length || !names.every((name) => values.has(name) || FUNCTIONS.has(name))) return null;
  return pretty(formula.replace(NAMES, (name) => (values.has(name) ? digits(values.get(name)) : name)));
}

const pretty = (formula) => formula.replaceAll(" ** ", " ^ ").replaceAll(" * ", " × ").replaceAll(" / ", " ÷ ").replaceAll(" - ", " − ").replace(/\b1e(\d+)/g, (_, power) => (power < 10 ? digits(Number(`1e${power}`)) : `10^${power}`));
