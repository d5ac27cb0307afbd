// What the user may set: how answers are drawn, the system prompt, the key. Checked as it is written, kept in the browser.

/** Bounds as the server has them, where a person could want them. Empty is the server's default, which is not sent. */
const FIELDS = {
  temperature: { label: "Temperature", min: 0, max: 5, step: "0.05", usual: "1", hint: "0 always takes the likeliest token; more is livelier." },
  top_p: { label: "Top-p", min: 0, max: 1, step: "0.01", usual: "1", hint: "Draw from the likeliest tokens that make up this share." },
  top_k: { label: "Top-k", min: 0, max: 1_000_000, isInteger: true, usual: "0, off", hint: "Draw from so many of the likeliest tokens." },
  min_p: { label: "Min-p", min: 0, max: 1, step: "0.01", usual: "0, off", hint: "Leave out tokens below this share of the likeliest one." },
  repetition_penalty: { label: "Repetition penalty", min: 0.01, max: 10, step: "0.01", usual: "1, off", hint: "Above 1, words already said become less likely." },
  max_tokens: { label: "Max tokens", min: 1, max: 16_777_216, isInteger: true, usual: "what fits", hint: "Longest answer." },
  seed: { label: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, isInteger: true, usual: "random", hint: "The same seed gives the same answer again." },
};
const MAX_STOPS = 64;
const MAX_STOP_LENGTH = 1024;
const MAX_SYSTEM_LENGTH = 1_000_000;
const THEMES = ["auto", "light", "dark"];
const KEY = /^[\x21-\x7e]{1,1000}$/;

/** What is wrong with a field's text, in a sentence; null when nothing is. */
function problemWith(name, text) {
  if (name === "stop") return problemWithStops(text);
  if (name === "system") return text.length > MAX_SYSTEM_LENGTH ? `At most ${count(MAX_SYSTEM_LENGTH, "character")}.` : null;
  if (!text.trim()) return null;
  const { min, max, isInteger } = FIELDS[name];
  const number = Number(text);
  const range = `${min.toLocaleString("en")} to ${max.toLocaleString("en")}`;
  if (!/^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i.test(text.trim())) return `Not a number; write one from ${range}, or nothing.`;
  if (number < min || number > max) return `Out of range; write ${range}, or nothing.`;
  if (isInteger && !Number.isInteger(number)) return `Write a whole number from ${range}, or nothing.`;
  return null;
}

function problemWithStops(text) {
  const stops = stopsOf(text);
  if (stops.length > MAX_STOPS) return `At most ${MAX_STOPS} lines.`;
  if (stops.some((stop) => [...stop].length > MAX_STOP_LENGTH)) return `At most ${count(MAX_STOP_LENGTH, "character")} a line.`;
  return null;
}

/** One a line; \n, \t and \\ stand for what they do in programs. */
function stopsOf(text) {
  const signs = { n: "\n", t: "\t", "\\": "\\" };
  return text.split("\n").filter((line) => line !== "").map((line) => line.replace(/\\([nt\\])/g, (_, sign) => signs[sign]));
}

/** The texts of all fields; only right ones are kept. */
class Settings {
  constructor() {
    const kept = shelf.read("settings") ?? {};
    this.texts = { system: "", stop: "" };
    for (const name of Object.keys(FIELDS)) this.texts[name] = "";
    for (const [name, text] of Object.entries(kept)) {
      if (Object.hasOwn(this.texts, name) && typeof text === "string" && !problemWith(name, text)) this.texts[name] = text;
    }
    this.model = shelf.read("model");
    this.key = shelf.read("key") ?? "";
    this.theme = THEMES.includes(shelf.read("theme")) ? shelf.read("theme") : "auto";
  }

  /** Keep a field's text if nothing is wrong with it; otherwise the one before counts. Returns what is wrong, or null. */
  set(name, text) {
    const problem = problemWith(name, text);
    if (problem) return problem;
    this.texts[name] = text;
    shelf.write("settings", this.texts);
    return null;
  }

  reset() {
    for (const name of Object.keys(this.texts)) this.texts[name] = "";
    shelf.write("settings", null);
  }

  setModel(name) {
    this.model = name;
    shelf.write("model", name);
  }

  setKey(key) {
    this.key = key;
    shelf.write("key", key || null);
  }

  setTheme(theme) {
    this.theme = theme;
    shelf.write("theme", theme === "auto" ? null : theme);
  }

  /** The fields of a request: those that are set. */
  request() {
    const fields = {};
    for (const name of Object.keys(FIELDS)) if (this.texts[name].trim()) fields[name] = Number(this.texts[name]);
    const stops = stopsOf(this.texts.stop);
    if (stops.length) fields.stop = stops;
    return fields;
  }
}
