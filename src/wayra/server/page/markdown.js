// Markdown to elements, line by line, while it is written: a finished line is read once, the begun one again and again.

const MAX_DEPTH = 12;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const MARKER = /^( *)([-*+]|(\d{1,9})[.)])(?:([ \t]+)(?=\S)|[ \t]*$)/;
const QUOTE = /^ {0,3}> ?/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
/** A begun line of nothing but these may still become many things; it is shown when that is known. */
const UNDECIDED = /^(?:[-*+=_~`#>|:\t ]*|[ \t]*\d{1,9}[.)]?[ \t]*)$/;
/** So many characters of a begun paragraph tell that it is one. */
const DECIDED = 8;
const TASK = /^\[([ xX])\][ \t]+/;

/** A text that grows, shown in an element. */
class Markdown {
  constructor(root) {
    this.root = root;
    this.text = "";
    this.restart();
  }

  restart() {
    this.root.replaceChildren();
    this.text = "";
    this.seen = 0;
    this.stack = [];
    this.leaf = null;
    this.undo = null;
  }

  /** Show the text so far. isDone: it is all there is. */
  update(text, isDone) {
    if (!text.startsWith(this.text)) this.restart();
    const isSameLine = this.undo && !isDone && !text.includes("\n", this.text.length);
    const added = text.slice(this.text.length);
    this.text = text;
    if (isSameLine && this.grow(added)) return;
    this.takeBack();
    for (let end = text.indexOf("\n", this.seen); end >= 0; end = text.indexOf("\n", this.seen)) {
      this.line(text.slice(this.seen, end).replace(/\r$/, ""));
      this.seen = end + 1;
    }
    const begun = text.slice(this.seen);
    if (isDone) {
      if (begun) this.line(begun);
      this.seen = text.length;
      this.close(0);
    } else {
      if (begun) this.preview(begun);
      this.leaf?.render?.(true);
    }
  }

  /** Read a begun line as if it were whole, so that it can be taken back. */
  preview(begun) {
    const code = this.leaf?.code;
    if (code ? /^\s*[`~]*$/.test(begun) : UNDECIDED.test(begun)) return;
    this.undo = { stack: [...this.stack], leaf: this.leaf, numLines: this.leaf?.lines?.length, added: [], length: begun.length };
    this.line(begun);
  }

  /** Add to the begun line where that needs no new reading; whether it did. */
  grow(added) {
    const { leaf, undo } = this;
    // Words that follow a table may still be a row of it, and those of an item begin with its box.
    if (leaf?.lines?.at(-1).length >= DECIDED && !undo.leaf?.body) {
      leaf.lines.push(leaf.lines.pop() + added);
      leaf.render(true);
      return true;
    }
    // Very long lines are read again less and less often.
    return !leaf?.code && this.text.length - this.seen < Math.max(undo.length + 1, undo.length > 4000 ? undo.length * 1.1 : 0);
  }

  takeBack() {
    const { undo } = this;
    if (!undo) return;
    this.undo = null;
    for (const node of undo.added.reverse()) node.remove();
    this.stack = undo.stack;
    this.leaf = undo.leaf;
    if (this.leaf?.lines) this.leaf.lines.length = undo.numLines;
    this.leaf?.code?.partial(null);
  }

  add(node) {
    (this.stack.at(-1)?.node ?? this.root).append(node);
    this.undo?.added.push(node);
    return node;
  }

  /** End the open leaf, and containers down to so many. */
  close(depth) {
    this.leaf?.render?.(false);
    this.leaf = null;
    this.stack.length = Math.min(depth, this.stack.length);
  }

  line(raw) {
    let { rest, depth } = this.within(raw.replace(/^[ \t]+/, (space) => space.replaceAll("\t", "    ")));
    const isInside = depth === this.stack.length;
    if (this.leaf?.code) {
      if (isInside) return this.codeLine(rest);
      this.close(depth);
    }
    if (!rest.trim()) {
      // A blank line ends paragraphs and quotations; lists wait for what comes.
      const quote = this.stack.findIndex((one, i) => i >= depth && one.kind === "quote");
      return this.close(quote < 0 ? this.stack.length : quote);
    }
    let isNew = false;
    for (let opened = this.container(rest, depth, isInside || isNew); opened !== null; opened = this.container(rest, depth, isInside || isNew)) {
      rest = opened;
      depth = this.stack.length;
      isNew = true;
      if (!rest.trim()) return undefined;
    }
    if (!isInside && !isNew && this.leaf?.lines && !this.startsBlock(rest)) return this.paragraph(rest);
    if (!isInside && !isNew) this.close(depth);
    return this.leafLine(rest);
  }

  /** What is left of a line within the containers that it belongs to, and how many those are. */
  within(text) {
    let rest = text, depth = 0;
    for (const one of this.stack) {
      if (one.kind === "quote") {
        const found = QUOTE.exec(rest);
        if (!found) break;
        rest = rest.slice(found[0].length);
      } else {
        const indent = rest.length - rest.trimStart().length;
        // Two columns are enough, as many models write; strictly it would be as many as the marker has.
        if (rest.trim() && indent < Math.min(one.indent, one.column + 2)) break;
        rest = rest.slice(Math.min(indent, one.indent));
      }
      depth += 1;
    }
    return { rest, depth };
  }

  codeLine(rest) {
    const { code, fence, indent } = this.leaf;
    const text = rest.replace(new RegExp(`^ {0,${indent}}`), "");
    if (this.undo) return code.partial(text);
    const end = /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(rest);
    if (end && end[1][0] === fence[0] && end[1].length >= fence.length) this.leaf = null;
    else code.line(text);
    return undefined;
  }

  /** Open a container if the line begins with one; what is left of the line, or null. */
  container(rest, depth, isInside) {
    if (this.stack.length >= MAX_DEPTH && depth >= MAX_DEPTH) return null;
    const quote = QUOTE.exec(rest);
    if (quote) {
      this.close(depth);
      this.stack.push({ kind: "quote", node: this.add(make("blockquote")) });
      return rest.slice(quote[0].length);
    }
    const marker = RULE.test(rest) ? null : MARKER.exec(rest);
    const isParagraph = isInside && this.leaf?.lines;
    if (!marker || (isParagraph && (marker[4] === undefined || (marker[3] && Number(marker[3]) !== 1)))) return null;
    return this.item(marker, rest, depth);
  }

  item([all, space, , number, gap], rest, depth) {
    const tag = number === undefined ? "ul" : "ol";
    const before = this.stack[depth];
    this.close(depth);
    const list = before?.list?.tagName.toLowerCase() === tag ? before.list : this.add(make(tag, number && number !== "1" ? { start: Number(number) } : {}));
    const node = make("li");
    list.append(node);
    this.undo?.added.push(node);
    // A wide gap belongs to what follows it.
    const width = gap === undefined || gap.length > 4 ? all.trimEnd().length + 1 : all.length;
    this.stack.push({ kind: "item", node, list, indent: width, column: space.length });
    const text = rest.slice(Math.min(width, rest.length)).trimStart();
    const task = TASK.exec(text);
    if (!task) return text;
    node.classList.add("task");
    node.append(task[1] === " " ? "☐ " : "☑ ");
    return text.slice(task[0].length);
  }

  startsBlock(rest) {
    return HEADING.test(rest) || FENCE.test(rest) || RULE.test(rest);
  }

  leafLine(rest) {
    const { leaf } = this;
    const underline = leaf?.lines && UNDERLINE.exec(rest);
    if (underline && !this.undo) return this.underlined(underline[1][0] === "=" ? "h1" : "h2");
    if (leaf?.lines && TABLE_RULE.test(rest) && rest.includes("|") && !this.undo && this.table(rest)) return undefined;
    if (leaf?.body) {
      if (rest.includes("|")) return this.row(rest);
      this.close(this.stack.length);
    }
    const heading = HEADING.exec(rest), fence = FENCE.exec(rest);
    if (!heading && !fence && !RULE.test(rest)) return this.paragraph(rest);
    this.close(this.stack.length);
    if (heading) new Inline(this.add(make(`h${heading[1].length}`))).update(withoutClosing(heading[2] ?? ""), this.undo !== null);
    else if (fence) this.fence(rest, fence);
    else this.add(make("hr"));
    return undefined;
  }

  fence(rest, [, fence, info]) {
    const language = info.trim().split(/\s/)[0].slice(0, 30);
    const code = new CodeBlock(language);
    this.add(code.node);
    this.leaf = { code, fence, indent: rest.length - rest.trimStart().length };
  }

  paragraph(rest) {
    if (!this.leaf?.lines) {
      this.close(this.stack.length);
      this.leaf = new Paragraph(this.add(make("p")));
    }
    this.leaf.lines.push(rest.trimStart());
    return undefined;
  }

  underlined(tag) {
    const { leaf } = this;
    const heading = make(tag);
    leaf.node.replaceWith(heading);
    new Inline(heading).update(leaf.lines.join("\n"), false);
    this.leaf = null;
  }

  /** Make a table of the paragraph's last line if it has as many columns as the rule below it. */
  table(rule) {
    const { leaf } = this;
    const aligns = cells(rule).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : null));
    const heads = cells(leaf.lines.at(-1));
    if (heads.length !== aligns.length) return false;
    leaf.lines.pop();
    if (leaf.lines.length) leaf.render(false);
    else leaf.node.remove();
    const body = make("tbody");
    const row = make("tr", {}, ...heads.map((text, i) => cellOf("th", text, aligns[i], false)));
    this.add(make("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, make("table", {}, make("thead", {}, row), body)));
    this.leaf = { body, aligns };
    return true;
  }

  row(rest) {
    const { body, aligns } = this.leaf;
    const texts = cells(rest);
    const row = make("tr", {}, ...aligns.map((align, i) => cellOf("td", texts[i] ?? "", align, this.undo !== null)));
    body.append(row);
    this.undo?.added.push(row);
  }
}

/** A paragraph while it grows. */
class Paragraph {
  constructor(node) {
    this.node = node;
    this.lines = [];
    this.inline = new Inline(node);
  }

  render(isOpen) {
    // The last line may be the head of a table, which the next one tells.
    const lines = isOpen && this.lines.at(-1)?.startsWith("|") ? this.lines.slice(0, -1) : this.lines;
    const text = lines.join("\n");
    this.inline.update(isOpen ? text : text.trimEnd(), isOpen);
  }
}

/** A heading's text without the signs that may end it. */
function withoutClosing(text) {
  const trimmed = text.trim();
  let end = trimmed.length;
  while (trimmed[end - 1] === "#") end -= 1;
  return end === 0 || SPACE.test(trimmed[end - 1]) ? trimmed.slice(0, end).trimEnd() : trimmed;
}

function cellOf(tag, text, align, isOpen) {
  const cell = make(tag, align ? { class: `align-${align}` } : {});
  new Inline(cell).update(text, isOpen);
  return cell;
}

/** The cells of a table's row; a bar after a backslash is text. */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.replaceAll("\\|", "|").trim());
}
