// Blocks of code: coloured line by line as they come, with their language and a button that copies them.

const C_WORDS =
  "abstract as async await auto bool boolean break byte case catch char class const constexpr continue debugger default defer delete do double " +
  "else enum export extends extern false final finally float fn for from func function go if impl implements import in int interface " +
  "internal is let long match mod mut namespace new nil null nullptr of operator override package private protected pub public range " +
  "readonly ref return self short sizeof static string struct super switch template this throw throws trait true try type typedef " +
  "typeof undefined union unsafe unsigned use using val var virtual void volatile when where while yield";
const HASH_WORDS =
  "and as assert async await begin break case class continue def del do done elif else elsif end esac except export False fi finally for " +
  "from function global if import in is lambda local module nil None nonlocal not or pass raise require rescue return self then " +
  "True true false null try unless until while with yield echo cd sudo";
const SQL_WORDS =
  "add all alter and as asc begin between by case check column commit constraint create cross database default delete desc distinct " +
  "drop else end exists foreign from full function group having if in index inner insert into is join key left like limit local " +
  "not null offset on or order outer primary references return returns right rollback select set table then top union unique update " +
  "using values view when where with";

/** How the languages of a family are read. blocks: what spans lines, from where to where, and its class. */
const FAMILIES = {
  c: { words: C_WORDS, comment: "//", blocks: [["/*", "*/", "comment"], ["`", "`", "text"]] },
  hash: { words: HASH_WORDS, comment: "#", blocks: [['"""', '"""', "text"], ["'''", "'''", "text"]] },
  sql: { words: SQL_WORDS, comment: "--", blocks: [["/*", "*/", "comment"]], anyCase: true },
  markup: { words: "", comment: null, blocks: [["<!--", "-->", "comment"]] },
  json: { words: "true false null", comment: null, blocks: [] },
  css: { words: "important media supports keyframes import from to", comment: null, blocks: [["/*", "*/", "comment"]] },
};
const LANGUAGES = {
  c: "c cc cpp c++ h hpp cs csharp java js javascript jsx mjs ts typescript tsx go golang rust rs swift kotlin kt scala php dart zig cuda",
  hash: "python py python3 ruby rb bash sh shell zsh console yaml yml toml r perl make makefile dockerfile ini elixir julia cmake powershell",
  sql: "sql sqlite mysql postgresql postgres lua haskell hs ada",
  markup: "html xml svg vue",
  json: "json jsonc json5",
  css: "css scss less",
};
const FAMILY_OF = new Map(Object.entries(LANGUAGES).flatMap(([family, names]) => names.split(" ").map((name) => [name, family])));
const MAX_COLOURED_LINES = 4000;
const MAX_COLOURED_LENGTH = 1000;
const TOKEN = /("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)|(\b\d[\w.]*)|([A-Za-z_$@][\w$]*)|\s+|[^]/y;

/** Colours lines in order; knows in which construct the last one ended. */
class Colourist {
  constructor(language) {
    const family = FAMILIES[FAMILY_OF.get(language)];
    this.family = family ?? null;
    this.words = new Set(family?.words.split(" "));
    this.inside = null;
    this.numLines = 0;
  }

  /** The line as nodes. */
  line(text) {
    this.numLines += 1;
    if (!this.family || this.numLines > MAX_COLOURED_LINES || text.length > MAX_COLOURED_LENGTH) return [text];
    const parts = [];
    const put = (kind, piece) => {
      if (parts.length && parts.at(-1).kind === kind) parts.at(-1).text += piece;
      else if (piece) parts.push({ kind, text: piece });
    };
    for (let at = 0; at < text.length;) at = this.token(text, at, put);
    return parts.map((part) => (part.kind ? make("span", { class: `code-${part.kind}` }, part.text) : part.text));
  }

  /** Where the token ends. */
  token(text, at, put) {
    const { family } = this;
    const block = this.inside ?? family.blocks.find(([begin]) => text.startsWith(begin, at));
    if (block) {
      const found = text.indexOf(block[1], this.inside ? at : at + block[0].length);
      const end = found < 0 ? text.length : found + block[1].length;
      this.inside = found < 0 ? block : null;
      put(block[2], text.slice(at, end));
      return end;
    }
    const isComment = family.comment && text.startsWith(family.comment, at) && (family.comment !== "#" || !/\S/.test(text[at - 1] ?? " "));
    if (isComment) {
      put("comment", text.slice(at));
      return text.length;
    }
    TOKEN.lastIndex = at;
    const [all, string, number, word] = TOKEN.exec(text);
    const isWord = word && this.words.has(family.anyCase ? word.toLowerCase() : word);
    put(string ? "text" : number ? "number" : isWord ? "word" : "", all);
    return TOKEN.lastIndex;
  }
}

/** One block. Lines are added whole; what has come of the next one is shown as it is. */
class CodeBlock {
  constructor(language) {
    this.lines = [];
    this.colourist = new Colourist(language.toLowerCase());
    this.tail = document.createTextNode("");
    this.code = make("code", {}, this.tail);
    const bar = make("div", { class: "code-bar" }, make("span", {}, language || "code"), copyButton(() => this.lines.join("\n"), "Copy code"));
    this.node = make("div", { class: "code" }, bar, make("pre", { tabindex: "0", role: "region", "aria-label": `Code${language ? `, ${language}` : ""}` }, this.code));
  }

  line(text) {
    this.tail.before(...(this.lines.length ? ["\n"] : []), ...this.colourist.line(text));
    this.lines.push(text);
    this.partial(null);
  }

  partial(text) {
    this.tail.data = text === null ? "" : (this.lines.length ? "\n" : "") + text;
  }
}
