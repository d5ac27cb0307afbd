// What stands within a line of Markdown: emphasis, code, links. Linear in time, also when the text grows piece by piece.

/** Characters that may mean something; all others are taken word by word. */
const WORD = /[^\\`*_~[\]!<&$:\s]+[ \t]*|[ \t]+/y;
const LINK_TARGET = /\([ \t\n]{0,8}(?:<([^<>\n]{0,4000})>|([^\s()<]{0,4000}(?:\([^\s()]{0,400}\)[^\s()]{0,4000}){0,8}))(?:[ \t\n]{1,8}(?:"[^"]{0,400}"|'[^']{0,400}'))?[ \t\n]{0,8}\)/y;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]{1,4000})>/iy;
const BARE_URL = /:\/\/[^\s<>"'`|\\^{}]{1,4000}/y;
const ENTITY = /&(amp|lt|gt|quot|apos|nbsp|#39);/y;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", "#39": "'" };
const LINE_BREAK = /<br ?\/?>/iy;
const SPACE = /\s/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const SCHEMES = new Set(["http:", "https:", "mailto:"]);
const MATHS = [["\\(", "\\)"], ["\\[", "\\]"], ["$$", "$$"]];
/** An emphasis or link whose begin lies farther back is none: what is read again while text grows stays small. */
const MAX_SPAN = 4000;
const MAX_OPEN = 64;
/** So far from its end, growing text cannot change any more what came before. */
const SETTLE = 256;
/** What is open for so long while text grows is most likely no markup. */
const MAX_GUESS = 300;

/** The address if a click on it is safe, as the browser would read it; null otherwise. */
function safeAddress(text) {
  if (!/^(?:https?:\/\/|mailto:)/i.test(text)) return null;
  try {
    const url = new URL(text);
    return SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function linkTo(address, ...children) {
  return make("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow", title: address }, ...children);
}

/** The inline content of one element. Its text may only grow. */
class Inline {
  constructor(root) {
    this.root = root;
    this.restart();
  }

  restart() {
    this.settled = 0;
    this.settledNode = null;
  }

  /** Show the text. isOpen: more will come, so that what is not closed yet is shown as if it were. */
  update(text, isOpen) {
    if (text.length < this.settled) this.restart();
    while (this.root.lastChild !== this.settledNode) this.root.lastChild.remove();
    new InlineReader(this, text, isOpen).read();
  }
}

/** One reading of what has not settled. All nodes are siblings until an emphasis or link takes them in. */
class InlineReader {
  constructor(inline, text, isOpen) {
    this.inline = inline;
    this.root = inline.root;
    this.text = text;
    this.isOpen = isOpen;
    this.at = inline.settled;
    this.words = "";
    this.openers = [];
    this.brackets = [];
    this.absent = new Map();
  }

  read() {
    const { text } = this;
    while (this.at < text.length) {
      this.settle();
      WORD.lastIndex = this.at;
      const word = WORD.exec(text);
      if (word) {
        this.words += word[0];
        this.at = WORD.lastIndex;
      } else this.special(text[this.at]);
    }
    if (this.isOpen) this.guess();
    this.flush();
  }

  /** Note how much cannot change any more: all before the first mark that may still be closed. */
  settle() {
    const { at, inline } = this;
    if (!this.isOpen || at - inline.settled < SETTLE || at > this.text.length - SETTLE) return;
    if (/\w/.test(this.text[at - 1]) || this.text[at] === "\n") return;
    while (this.openers.length && this.isFar(this.openers[0])) this.openers.shift();
    while (this.brackets.length && this.isFar(this.brackets[0])) this.brackets.shift();
    const marks = [this.openers[0], this.brackets[0]].filter(Boolean);
    if (marks.length) {
      const first = marks.reduce((one, other) => (one.at < other.at ? one : other));
      if (first.node.parentNode !== this.root) return;
      inline.settled = first.at;
      inline.settledNode = first.node.previousSibling;
    } else {
      this.flush();
      inline.settled = at;
      inline.settledNode = this.root.lastChild;
    }
  }

  isFar(mark) {
    return this.at - mark.at > MAX_SPAN;
  }

  flush() {
    if (this.words) this.root.append(this.words);
    this.words = "";
  }

  add(node) {
    this.flush();
    this.root.append(node);
    return node;
  }

  literal(length = 1) {
    this.words += this.text.substr(this.at, length);
    this.at += length;
  }

  match(pattern, at = this.at) {
    pattern.lastIndex = at;
    return pattern.exec(this.text);
  }

  special(char) {
    switch (char) {
      case "\n": this.breakLine(); break;
      case "\\": this.escape(); break;
      case "`": this.code(); break;
      case "*": case "_": case "~": this.delimiter(char); break;
      case "$": if (!this.maths()) this.literal(); break;
      case "[": this.bracket(1); break;
      case "!": if (this.text[this.at + 1] === "[") this.bracket(2); else this.literal(); break;
      case "]": this.link(); break;
      case ":": this.bareUrl(); break;
      case "<": this.angle(); break;
      case "&": this.entity(); break;
      default: this.literal();
    }
  }

  breakLine() {
    this.words = this.words.trimEnd();
    this.add(make("br"));
    this.at += 1;
  }

  escape() {
    if (this.maths()) return;
    const next = this.text[this.at + 1];
    if (next === "\n") {
      this.at += 1;
      this.breakLine();
    } else if (next !== undefined && /[!-/:-@[-`{-~]/.test(next)) {
      this.words += next;
      this.at += 2;
    } else this.literal();
  }

  /** Formulas are shown as they were written: Markdown's reading of them would lose their signs. */
  maths() {
    const pair = MATHS.find(([begin]) => this.text.startsWith(begin, this.at));
    if (!pair) return false;
    const close = this.find(pair[1], this.at + 2);
    if (close < 0 && !(this.isOpen && this.text.length - this.at <= MAX_GUESS)) return false;
    const end = close < 0 ? this.text.length : close + 2;
    this.add(make("code", { class: "maths" }, this.text.slice(this.at, end)));
    this.at = end;
    return true;
  }

  /** Where the text occurs next; what was once not found is not looked for again. */
  find(wanted, from) {
    if (this.absent.has(wanted)) return -1;
    const found = this.text.indexOf(wanted, from);
    if (found < 0) this.absent.set(wanted, true);
    return found;
  }

  code() {
    const { text, at } = this;
    let end = at;
    while (text[end] === "`") end += 1;
    const run = text.slice(at, end);
    let close = this.absent.has(run) ? -1 : end;
    while (close >= 0) {
      close = text.indexOf(run, close);
      if (close < 0) break;
      let after = close;
      while (text[after] === "`") after += 1;
      if (after - close === run.length) break;
      close = after;
    }
    if (close < 0) {
      this.absent.set(run, true);
      if (this.isOpen && this.isNear(end)) {
        if (end < text.length) this.add(make("code", {}, text.slice(end)));
        this.at = text.length;
      } else this.literal(run.length);
      return;
    }
    let inner = text.slice(end, close).replaceAll("\n", " ");
    if (inner.startsWith(" ") && inner.endsWith(" ") && inner.trim()) inner = inner.slice(1, -1);
    this.add(make("code", {}, inner));
    this.at = close + run.length;
  }

  /** Whether so little came since, on the same line, that the end of a markup may still come. */
  isNear(from) {
    return this.text.length - from <= MAX_GUESS && !this.text.includes("\n", from);
  }

  delimiter(char) {
    const { text, at } = this;
    let end = at;
    while (text[end] === char) end += 1;
    // Its other side is not known yet; what it closes is closed by `guess`.
    if (this.isOpen && end === text.length) {
      this.at = end;
      return undefined;
    }
    let length = end - at;
    if (char === "~" && length !== 2) return this.literal(length);
    const before = text[at - 1] ?? " ", after = text[end] ?? " ";
    const spaced = { before: SPACE.test(before), after: SPACE.test(after) };
    const marked = { before: PUNCTUATION.test(before), after: PUNCTUATION.test(after) };
    const left = !spaced.after && (!marked.after || spaced.before || marked.before);
    const right = !spaced.before && (!marked.before || spaced.after || marked.after);
    const opens = left && (char !== "_" || !right || marked.before);
    const closes = right && (char !== "_" || !left || marked.after);
    this.flush();
    this.at = end;
    if (closes) length = this.closeWith(char, length, opens);
    if (!length) return undefined;
    const node = this.add(document.createTextNode(char.repeat(length)));
    if (opens) this.openers.push({ node, char, length, both: closes, at });
    if (this.openers.length > MAX_OPEN) this.openers.shift();
    return undefined;
  }

  /** Close emphases with so many characters; how many of them are left. */
  closeWith(char, length, opens) {
    for (let i = this.openers.length - 1; i >= 0 && length > 0;) {
      const opener = this.openers[i];
      const unfit = (opener.both || opens) && char !== "~" && (opener.length + length) % 3 === 0 && length % 3 !== 0;
      if (opener.char !== char || unfit || this.isFar(opener) || opener.node.parentNode !== this.root) {
        i -= 1;
        continue;
      }
      this.openers.length = i + 1;
      this.brackets = this.brackets.filter((bracket) => bracket.at < opener.at);
      const used = Math.min(2, opener.length, length);
      this.wrap(opener, used);
      length -= used;
      if (opener.length === 0) {
        this.openers.pop();
        i -= 1;
      }
    }
    return length;
  }

  /** Put everything after the opener into an element. */
  wrap(opener, used) {
    const node = make(opener.char === "~" ? "s" : used === 2 ? "strong" : "em");
    while (opener.node.nextSibling) node.append(opener.node.nextSibling);
    this.root.append(node);
    opener.length -= used;
    opener.node.data = opener.char.repeat(opener.length);
    if (opener.length === 0) opener.node.remove();
  }

  bracket(length) {
    this.flush();
    const node = this.add(document.createTextNode(this.text.substr(this.at, length)));
    this.brackets.push({ node, at: this.at });
    if (this.brackets.length > MAX_OPEN) this.brackets.shift();
    this.at += length;
  }

  link() {
    const opener = this.brackets.pop();
    if (!opener || this.isFar(opener) || opener.node.parentNode !== this.root || this.text[this.at + 1] !== "(") return this.literal();
    const found = this.match(LINK_TARGET, this.at + 1);
    const isComing = !found && this.isOpen && this.isNear(this.at) && !this.text.includes(")", this.at);
    if (!found && !isComing) return this.literal();
    const address = found && safeAddress(found[1] ?? found[2]);
    this.flush();
    // A picture is never fetched: its description leads to it.
    const node = address ? linkTo(address) : make("span", { class: "unlinked" });
    while (opener.node.nextSibling) node.append(opener.node.nextSibling);
    if (!node.hasChildNodes()) node.append(address ?? "link");
    // An address that is not followed stays legible.
    if (found && !address) node.append(` (${found[1] ?? found[2]})`);
    opener.node.replaceWith(node);
    this.openers = this.openers.filter((one) => one.at < opener.at);
    this.brackets = [];
    this.at = found ? this.at + 1 + found[0].length : this.text.length;
    return undefined;
  }

  bareUrl() {
    const scheme = /(?<!\w)https?$/i.exec(this.text.slice(Math.max(0, this.at - 8), this.at));
    const found = scheme && scheme[0].length <= this.words.length && this.match(BARE_URL);
    if (!found || this.brackets.length) return this.literal();
    const rest = withoutStops(found[0]);
    const address = safeAddress(scheme[0] + rest);
    if (!address) return this.literal();
    this.words = this.words.slice(0, -scheme[0].length);
    this.add(linkTo(address, scheme[0] + rest));
    this.at += rest.length;
    return undefined;
  }

  angle() {
    const found = this.match(AUTOLINK);
    const address = found && safeAddress(found[1]);
    if (address) this.add(linkTo(address, found[1].replace(/^mailto:/i, "")));
    else if (this.match(LINE_BREAK)) this.add(make("br"));
    else return this.literal();
    this.at += (found ?? this.match(LINE_BREAK))[0].length;
    return undefined;
  }

  entity() {
    const found = this.match(ENTITY);
    if (!found) return this.literal();
    this.words += ENTITIES[found[1]];
    this.at += found[0].length;
    return undefined;
  }

  /** Show what is open at the end as it will most likely be. */
  guess() {
    this.flush();
    while (this.openers.length) {
      const opener = this.openers.pop();
      if (opener.node.parentNode !== this.root || !this.isNear(opener.at)) continue;
      while (opener.length > 0) this.wrap(opener, Math.min(2, opener.length));
    }
  }
}

/** Without what ends the sentence around an address: stops, and brackets that were opened before it. */
function withoutStops(text) {
  let surplus = 0, end = text.length;
  for (const char of text) surplus += ")]".includes(char) - "([".includes(char);
  for (; end > 0; end -= 1) {
    const isSurplus = surplus > 0 && ")]".includes(text[end - 1]);
    if (!isSurplus && !".,;:!?*_~".includes(text[end - 1])) break;
    surplus -= isSurplus;
  }
  return text.slice(0, end);
}
