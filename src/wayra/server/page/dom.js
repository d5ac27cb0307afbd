// Building blocks of the page: text only ever enters it as text nodes, never as markup.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes whose value is null or false are left out; `on` maps events to listeners. */
function make(tag, { on = {}, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** A picture from the sheet in the document; it says nothing, its button does. */
function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

function iconButton(name, label, onClick, attributes = {}) {
  return make("button", { type: "button", class: "quiet", "aria-label": label, title: label, on: { click: onClick }, ...attributes }, icon(name));
}

/** Random enough for names; there is no randomUUID on pages that came by plain http from another machine. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function copyText(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed: the older way may still be.
    }
  }
  const area = make("textarea", { class: "hidden", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  const parent = document.querySelector("dialog[open]") ?? document.body;
  const focused = document.activeElement;
  parent.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus?.();
  return done;
}

/** A button that copies what `text` returns and says for a moment how that went. */
function copyButton(text, label) {
  const button = iconButton("copy", label, async () => {
    const done = await copyText(text());
    button.replaceChildren(icon(done ? "check" : "cross"));
    announce(done ? "Copied" : "The browser does not allow copying");
    clearTimeout(button.timer);
    button.timer = setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

/** Have a screen reader say it when it has time. */
function announce(text) {
  const region = $("announcer");
  // The same words again would not be read.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/** At the bottom for a while, with at most one thing to do about it. */
class Toast {
  constructor(node) {
    this.node = node;
  }

  show(text, action = null) {
    clearTimeout(this.timer);
    const button = action && make("button", { type: "button", class: "plain", on: { click: () => { this.hide(); action.run(); } } }, action.label);
    this.node.replaceChildren(text, ...(button ? [button] : []));
    this.node.hidden = false;
    this.timer = setTimeout(() => this.hide(), action ? 10_000 : 5_000);
  }

  hide() {
    clearTimeout(this.timer);
    this.node.hidden = true;
  }
}

/** Small things the browser keeps: read and written as JSON, forgotten where it forbids that. */
const shelf = {
  read(name) {
    try {
      return JSON.parse(localStorage.getItem(`wayra.${name}`));
    } catch {
      return null;
    }
  },
  write(name, value) {
    try {
      if (value === null) localStorage.removeItem(`wayra.${name}`);
      else localStorage.setItem(`wayra.${name}`, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },
};

const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
