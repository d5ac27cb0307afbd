// The list of conversations: by day, searched, renamed, deleted.

const DAY_MS = 86_400_000;
const SNIPPET_CHARS = 40;

class Sidebar {
  /** actions: rename(id, title), remove(id). */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.list = $("list");
    this.currentId = null;
    this.busy = new Set();
    $("search").addEventListener("input", () => this.show());
  }

  show() {
    // A name that is being written is not taken away.
    if (this.list.querySelector("input")) return;
    const wanted = $("search").value.trim().toLowerCase();
    const focused = document.activeElement?.closest?.("#list a")?.getAttribute("href");
    const groups = new Map();
    for (const one of this.store.sorted()) {
      const found = wanted ? foundIn(one, wanted) : { snippet: null };
      if (!found) continue;
      const name = dayOf(one.updated);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(this.item(one, found.snippet));
    }
    const sections = [...groups].map(([name, items]) => make("section", {}, make("h2", {}, name), make("ul", {}, ...items)));
    const nothing = make("p", { class: "note" }, wanted ? "Nothing found." : "No conversations yet.");
    this.list.replaceChildren(...(sections.length ? sections : [nothing]));
    if (focused) this.list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  item(one, snippet) {
    const isCurrent = one.id === this.currentId;
    const title = one.title || "Untitled";
    const link = make("a", { href: `#${one.id}`, "aria-current": isCurrent ? "page" : null, title }, make("span", { class: "name" }, title), snippet && make("small", {}, snippet));
    const item = make(
      "li",
      { class: isCurrent ? "current" : null },
      link,
      this.busy.has(one.id) ? make("span", { class: "busy", role: "img", "aria-label": "An answer is being written" }) : null,
      iconButton("edit", `Rename ${title}`, () => this.rename(one, item)),
      iconButton("trash", `Delete ${title}`, () => this.actions.remove(one.id)),
    );
    return item;
  }

  rename(one, item) {
    const field = make("input", { "aria-label": "Name of the conversation", maxlength: "200" });
    field.value = one.title;
    let isOver = false;
    const leave = (keeps) => {
      if (isOver) return;
      isOver = true;
      field.remove();
      if (keeps && field.value.trim()) this.actions.rename(one.id, field.value.trim());
      this.show();
      this.list.querySelector(`a[href="#${one.id}"]`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.stopPropagation();
      if (event.key === "Enter" && !event.isComposing) leave(true);
      else if (event.key === "Escape") leave(false);
    });
    field.addEventListener("blur", () => leave(true));
    item.replaceChildren(field);
    field.focus();
    field.select();
  }
}

/** Where the words occur in a conversation: in its title, or with what stands around them; null if nowhere. */
function foundIn(conversation, wanted) {
  if (conversation.title.toLowerCase().includes(wanted)) return { snippet: null };
  for (const { content } of conversation.nodes) {
    const at = content.toLowerCase().indexOf(wanted);
    if (at < 0) continue;
    const from = Math.max(0, at - SNIPPET_CHARS / 2), to = at + wanted.length + SNIPPET_CHARS;
    return { snippet: `${from ? "…" : ""}${content.slice(from, to).replace(/\s+/g, " ")}${to < content.length ? "…" : ""}` };
  }
  return null;
}

function dayOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY_MS) return "Yesterday";
  if (time >= midnight - 7 * DAY_MS) return "Last seven days";
  return new Date(time).toLocaleDateString("en", { month: "long", year: "numeric" });
}
