// Puts the page together: what is shown, what is sent, what is kept, and what happens on a key or a click.

const SAVE_EVERY_MS = 3000;
const NARROW = matchMedia("(max-width: 50rem)");
const DARK = matchMedia("(prefers-color-scheme: dark)");

class App {
  constructor() {
    this.settings = new Settings();
    this.client = new Client(this.settings);
    this.store = new Store((trouble) => this.notice("store", trouble), (id) => this.changedElsewhere(id));
    this.toast = new Toast($("toast"));
    this.runs = new Map();
    this.currentId = null;
    this.models = [];
    this.chat = new ChatView({
      ask: (text) => this.ask(text),
      edit: (node, text) => this.edit(node, text),
      retry: (node) => this.retry(node),
      choose: (node) => this.choose(node),
      enterKey: (node) => this.askForKey(node.error.message, node),
    });
    this.sidebar = new Sidebar(this.store, { rename: (id, title) => this.rename(id, title), remove: (id) => this.remove(id) });
    this.dialog = new SettingsDialog(this.settings, {
      keyChanged: () => this.reconnect(),
      themeChanged: () => this.applyTheme(),
      exportAll: () => this.exportThese(this.store.sorted(), "conversations"),
      exportOne: () => this.exportThese(this.current ? [this.current] : [], "conversation"),
      importFrom: (file) => this.importFrom(file),
      removeAll: () => this.removeAll(),
    });
    this.failedNode = null;
    this.keyDialog = new KeyDialog(this.settings, { given: () => this.reconnect(), refused: () => { this.failedNode = null; } });
    this.engine = new EngineView(this.client, () => this.modelOfMetrics(), (error, waitMs) => this.reached(error, waitMs));
  }

  get current() {
    return this.store.all.get(this.currentId) ?? null;
  }

  get currentRun() {
    return [...this.runs.values()].find((run) => run.conversation.id === this.currentId) ?? null;
  }

  async start() {
    this.applyTheme();
    this.listen();
    this.layOut();
    await this.store.open();
    this.showFromAddress();
    await this.loadModels();
    this.engine.restart();
  }

  listen() {
    $("form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.currentRun) this.currentRun.abort.abort();
      else this.ask($("prompt").value);
    });
    $("prompt").addEventListener("keydown", (event) => {
      if (!sends(event)) return;
      event.preventDefault();
      if (!this.currentRun) this.ask($("prompt").value);
    });
    $("prompt").addEventListener("input", () => { fit($("prompt")); this.showButton(); });
    document.addEventListener("keydown", (event) => this.pressed(event));
    $("new").addEventListener("click", () => this.startNew());
    $("model").addEventListener("change", () => { this.settings.setModel($("model").value); this.engine.restart(); });
    $("theme").addEventListener("click", () => { this.settings.setTheme(this.isDark ? "light" : "dark"); this.applyTheme(); });
    $("open-settings").addEventListener("click", () => this.dialog.open());
    $("menu").addEventListener("click", () => this.setSidebar(!this.isSidebarOpen));
    $("scrim").addEventListener("click", () => this.setSidebar(false));
    $("skip").addEventListener("click", (event) => { event.preventDefault(); $("prompt").focus(); });
    $("list").addEventListener("click", (event) => { if (NARROW.matches && event.target.closest("a")) this.setSidebar(false); });
    NARROW.addEventListener("change", () => this.layOut());
    DARK.addEventListener("change", () => this.applyTheme());
    addEventListener("hashchange", () => this.showFromAddress());
    addEventListener("pagehide", () => { for (const run of this.runs.values()) this.store.put(run.conversation); });
  }

  pressed(event) {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) this.startNew();
    } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      if (NARROW.matches && this.isSidebarOpen) this.setSidebar(false);
      else this.currentRun?.abort.abort();
    }
  }

  // ---- what is shown

  showFromAddress() {
    const id = location.hash.slice(1);
    this.open(this.store.all.has(id) ? id : null);
  }

  /** Show a conversation; null is an empty one, which begins to exist with its first message. */
  open(id) {
    this.currentId = id;
    const address = id ? `#${id}` : location.pathname;
    if (location.hash.slice(1) !== (id ?? "")) history.pushState(null, "", address);
    this.show();
    this.chat.toEnd();
  }

  show() {
    const { current } = this;
    this.chat.show(current, (node) => this.runs.get(node.id) ?? null);
    this.sidebar.currentId = this.currentId;
    this.sidebar.busy = new Set([...this.runs.values()].map((run) => run.conversation.id));
    this.sidebar.show();
    const title = current?.title || "New chat";
    $("title").textContent = title;
    document.title = current ? `${title} · wayra` : "wayra";
    this.showButton();
    this.showContext();
  }

  showButton() {
    const isRunning = this.currentRun !== null;
    const button = $("send"), label = isRunning ? "Stop" : "Send";
    button.disabled = !isRunning && !$("prompt").value.trim();
    if (button.getAttribute("aria-label") === label) return;
    button.setAttribute("aria-label", label);
    button.title = label;
    button.classList.toggle("stops", isRunning);
    button.replaceChildren(icon(isRunning ? "stop" : "send"));
  }

  showContext() {
    const last = this.current && shownPath(this.current).at(-1)?.node.stats;
    const model = this.models.find(({ id }) => id === this.model);
    const used = last?.promptTokens ? last.promptTokens + last.tokens : 0;
    $("context").textContent = used && model ? `${used.toLocaleString("en")} of ${count(model.max_model_len, "token")} used` : "";
  }

  startNew() {
    this.open(null);
    if (NARROW.matches) this.setSidebar(false);
    $("prompt").focus();
  }

  // ---- what is sent

  ask(given) {
    const text = given.trim();
    if (!text || this.currentRun) return;
    const conversation = this.current ?? newConversation();
    const last = shownPath(conversation).at(-1)?.node;
    const parent = last ? last.id : ROOT;
    const node = addNode(conversation, parent, "user", text);
    this.store.all.set(conversation.id, conversation);
    $("prompt").value = "";
    fit($("prompt"));
    if (this.currentId !== conversation.id) this.open(conversation.id);
    this.answer(conversation, node);
    $("prompt").focus();
  }

  edit(node, text) {
    const conversation = this.current;
    this.currentRun?.abort.abort();
    this.answer(conversation, addNode(conversation, node.parent, "user", text));
    $("prompt").focus();
  }

  retry(node) {
    const conversation = this.current;
    const asked = conversation.nodes.find((one) => one.id === node.parent);
    this.currentRun?.abort.abort();
    // An answer that never came is not worth a branch.
    if (!node.content) removeNode(conversation, node.id);
    this.answer(conversation, asked);
  }

  choose(node) {
    const { current } = this;
    current.chosen[node.parent] = node.id;
    this.store.put(current);
    this.show();
  }

  /** Have the model answer a message of the user. */
  async answer(conversation, asked) {
    const body = { model: this.model || undefined, messages: messagesFor(conversation, asked.id, this.settings.texts.system), ...this.settings.request() };
    const node = addNode(conversation, asked.id, "assistant", "");
    if (this.model) node.model = this.model;
    const run = new Run(conversation, node);
    this.runs.set(node.id, run);
    this.store.put(conversation);
    this.show();
    this.chat.toEnd();
    announce("The model is answering");
    this.engine.soon();
    let savedAt = performance.now();
    await run.go(this.client, body, () => {
      if (conversation.id === this.currentId) this.chat.changed(node);
      if (performance.now() - savedAt < SAVE_EVERY_MS) return;
      savedAt = performance.now();
      this.keep(conversation);
    });
    this.runs.delete(node.id);
    this.ended(conversation, node);
  }

  ended(conversation, node) {
    this.keep(conversation);
    this.engine.soon();
    if (conversation.id === this.currentId) {
      this.chat.changed(node);
      this.chat.paint();
      this.showButton();
      this.showContext();
      announce(node.error ? `No answer: ${node.error.message}` : `${node.finish === "stopped" ? "Stopped" : "Answer"}: ${withoutThoughts(node.content).slice(0, 1000)}`);
    }
    this.sidebar.busy = new Set([...this.runs.values()].map((run) => run.conversation.id));
    this.sidebar.show();
    if (node.error?.status === 401) this.askForKey(node.error.message, node);
    if (node.error?.status === 404) this.loadModels();
  }

  /** Write a conversation down unless it was deleted meanwhile. */
  keep(conversation) {
    if (this.store.all.has(conversation.id)) this.store.put(conversation);
  }

  // ---- conversations

  rename(id, title) {
    const conversation = this.store.all.get(id);
    if (!conversation) return;
    conversation.title = title;
    conversation.isNamed = true;
    this.store.put(conversation);
    this.show();
  }

  remove(id) {
    const gone = this.store.all.get(id);
    if (!gone) return;
    for (const run of this.runs.values()) if (run.conversation.id === id) run.abort.abort();
    this.store.remove(id);
    if (id === this.currentId) this.open(null);
    else this.sidebar.show();
    $("new").focus();
    this.toast.show(`“${gone.title || "Untitled"}” was deleted.`, { label: "Undo", run: () => { this.store.put(gone); this.open(id); } });
  }

  removeAll() {
    for (const run of this.runs.values()) run.abort.abort();
    this.store.clear();
    this.dialog.dialog.close();
    this.open(null);
    this.toast.show("All conversations were deleted.");
  }

  exportThese(conversations, name) {
    if (conversations.length === 0) this.toast.show("There is nothing to export yet.");
    else download(`wayra-${name}-${new Date().toISOString().slice(0, 10)}.json`, exportText(conversations));
  }

  async importFrom(file) {
    try {
      const found = await importFile(file);
      let num = 0;
      for (const one of found) {
        const known = this.store.all.get(one.id);
        // The same again is none; another one of the same name is kept beside it.
        if (known && JSON.stringify(readConversation(structuredClone(known))) === JSON.stringify(one)) continue;
        if (known) one.id = newId();
        await this.store.put(one);
        num += 1;
      }
      this.dialog.dialog.close();
      this.show();
      this.toast.show(num ? `${count(num, "conversation")} imported.` : "All of them were here already.");
    } catch (error) {
      this.dialog.dialog.close();
      this.toast.show(error.message);
    }
  }

  /** Another tab wrote a conversation (null: many). What is being written here is kept, with what is new there. */
  changedElsewhere(id) {
    for (const { conversation } of this.runs.values()) {
      const theirs = this.store.all.get(conversation.id);
      if (id !== null && id !== conversation.id) continue;
      const known = new Set(conversation.nodes.map((node) => node.id));
      conversation.nodes.push(...(theirs?.nodes ?? []).filter((node) => !known.has(node.id)));
      this.store.all.set(conversation.id, conversation);
    }
    if (this.currentRun || (id !== null && id !== this.currentId)) this.sidebar.show();
    else if (!this.store.all.has(this.currentId) && this.currentId) this.open(null);
    else this.show();
  }

  // ---- the server

  get model() {
    return $("model").value;
  }

  /** The metrics know a model by its first name. */
  modelOfMetrics() {
    return this.model;
  }

  async loadModels() {
    try {
      this.models = await this.client.models();
      const wanted = this.models.some(({ id }) => id === this.settings.model) ? this.settings.model : this.models[0]?.id;
      $("model").replaceChildren(...this.models.map(({ id }) => make("option", { value: id, title: id, selected: id === wanted }, shortName(id))));
      this.showContext();
      return true;
    } catch (error) {
      if (error.status === 401) this.askForKey(error.message);
      return false;
    }
  }

  /** node: the answer that waits for the key. */
  askForKey(words, node = this.failedNode) {
    this.failedNode = node;
    this.keyDialog.open(words);
  }

  /** A key was given, or the server is back: begin anew with it. */
  async reconnect() {
    if (await this.loadModels()) {
      const node = this.failedNode;
      this.failedNode = null;
      this.notice("server", null);
      if (node && this.current?.nodes.includes(node)) this.retry(node);
    }
    this.engine.restart();
  }

  /** The engine view has an answer (null) or none. */
  reached(error, waitMs) {
    if (error === null) {
      const wasLost = this.isLost;
      this.isLost = false;
      if (wasLost) this.loadModels();
      this.notice("server", null);
      return;
    }
    this.isLost = true;
    if (error.status === 401) this.notice("server", "This server needs an API key.", { label: "Enter it", run: () => this.askForKey(error.message) });
    else this.notice("server", `${error.message} Trying again every ${Math.round(waitMs / 1000)} s.`, { label: "Now", run: () => this.engine.restart() });
  }

  // ---- around it

  /** Say something above the messages until it is taken back with null. */
  notice(name, text, action = null) {
    const id = `notice-${name}`;
    if ($(id)?.dataset.text === text) return;
    $(id)?.remove();
    if (text === null) return;
    const button = action && make("button", { type: "button", class: "plain", on: { click: action.run } }, action.label);
    $("notices").append(make("div", { id, class: "notice", role: "alert", "data-text": text }, make("span", {}, text), button));
  }

  get isDark() {
    return this.settings.theme === "dark" || (this.settings.theme === "auto" && DARK.matches);
  }

  applyTheme() {
    document.documentElement.dataset.theme = this.isDark ? "dark" : "light";
    const label = this.isDark ? "Use the light theme" : "Use the dark theme";
    $("theme").setAttribute("aria-label", label);
    $("theme").title = label;
    $("theme").replaceChildren(icon(this.isDark ? "sun" : "moon"));
  }

  get isSidebarOpen() {
    return document.body.dataset.sidebar === "open";
  }

  layOut() {
    this.setSidebar(!NARROW.matches && shelf.read("sidebar") !== "closed", false);
  }

  setSidebar(isOpen, isWish = true) {
    document.body.dataset.sidebar = isOpen ? "open" : "closed";
    $("menu").setAttribute("aria-expanded", String(isOpen));
    $("sidebar").inert = !isOpen;
    $("scrim").hidden = !(isOpen && NARROW.matches);
    $("stage").inert = isOpen && NARROW.matches;
    if (!isWish) return;
    if (!NARROW.matches) shelf.write("sidebar", isOpen ? null : "closed");
    else if (isOpen) $("new").focus();
    else $("menu").focus();
  }
}

new App().start();
