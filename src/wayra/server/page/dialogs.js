// The two dialogs: settings with everything that is kept, and the question for an API key.

/** A labelled field of the settings with its hint and what is wrong with it. */
class SettingsField {
  constructor(settings, name, { label, hint, usual, isText = false }) {
    this.settings = settings;
    this.name = name;
    const id = `set-${name}`;
    this.input = make(isText ? "textarea" : "input", {
      id, autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-hint ${id}-problem`, placeholder: usual ?? null, rows: isText ? "2" : null,
      inputmode: isText ? null : "decimal",
    });
    this.problem = make("p", { id: `${id}-problem`, class: "wrong", role: "alert" });
    this.node = make("div", { class: isText ? "field wide" : "field" }, make("label", { for: id }, label), this.input, make("p", { id: `${id}-hint`, class: "note" }, hint), this.problem);
    this.input.addEventListener("input", () => this.check());
    this.show();
  }

  show() {
    this.input.value = this.settings.texts[this.name];
    this.check();
  }

  check() {
    const problem = this.settings.set(this.name, this.input.value);
    this.problem.textContent = problem ?? "";
    this.input.setAttribute("aria-invalid", String(problem !== null));
  }
}

class SettingsDialog {
  /** actions: keyChanged(), themeChanged(), exportAll(), exportOne(), importFrom(file), removeAll(). */
  constructor(settings, actions) {
    this.settings = settings;
    this.actions = actions;
    this.dialog = $("settings");
    this.fields = [
      new SettingsField(settings, "system", { label: "System prompt", hint: "Said to the model before each conversation.", usual: "None", isText: true }),
      ...Object.entries(FIELDS).map(([name, field]) => new SettingsField(settings, name, field)),
      new SettingsField(settings, "stop", { label: "Stop sequences", hint: "One a line; an answer ends before the first that occurs. \\n is a line break.", usual: "None", isText: true }),
    ];
    const reset = make("button", { type: "button", class: "plain", on: { click: () => this.reset() } }, "Back to defaults");
    this.dialog.append(
      make("div", { class: "dialog-head" }, make("h2", { id: "settings-title" }, "Settings"), iconButton("cross", "Close", () => this.dialog.close())),
      make(
        "div",
        { class: "dialog-body" },
        part("Answers", make("p", { class: "note" }, "An empty field is the server's default. Changes count from the next message on."), make("div", { class: "fields" }, ...this.fields.map((field) => field.node)), reset),
        part("Connection", this.keyField()),
        part("Appearance", this.themeField()),
        part("Conversations", this.transfers()),
      ),
    );
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => this.fields.forEach((field) => field.show()));
  }

  open() {
    this.key.value = this.settings.key;
    for (const option of this.dialog.querySelectorAll('[name="theme"]')) option.checked = option.value === this.settings.theme;
    this.dialog.showModal();
  }

  reset() {
    this.settings.reset();
    for (const field of this.fields) field.show();
    announce("Settings are back to defaults");
  }

  keyField() {
    this.key = make("input", { id: "set-key", type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": "set-key-hint set-key-problem", placeholder: "None" });
    const problem = make("p", { id: "set-key-problem", class: "wrong", role: "alert" });
    this.key.addEventListener("change", () => {
      const key = this.key.value.trim();
      const isWrong = key !== "" && !KEY.test(key);
      problem.textContent = isWrong ? "A key has letters, digits and signs only, no spaces." : "";
      this.key.setAttribute("aria-invalid", String(isWrong));
      if (isWrong || key === this.settings.key) return;
      this.settings.setKey(key);
      this.actions.keyChanged();
    });
    return make("div", { class: "field wide" }, make("label", { for: "set-key" }, "API key"), this.key, make("p", { id: "set-key-hint", class: "note" }, "Kept in this browser, sent to this server alone. Needed only where the server asks for one."), problem);
  }

  themeField() {
    const names = { auto: "As the system", light: "Light", dark: "Dark" };
    const options = THEMES.map((theme) => {
      const input = make("input", { type: "radio", name: "theme", value: theme, on: { change: () => { this.settings.setTheme(theme); this.actions.themeChanged(); } } });
      return make("label", { class: "choice" }, input, names[theme]);
    });
    return make("fieldset", {}, make("legend", {}, "Theme"), ...options);
  }

  transfers() {
    const { actions } = this;
    const file = make("input", { type: "file", accept: "application/json,.json", class: "hidden", id: "import", tabindex: "-1", "aria-hidden": "true" });
    file.addEventListener("change", () => {
      if (file.files.length) actions.importFrom(file.files[0]);
      file.value = "";
    });
    const button = (label, run, kind = "plain") => make("button", { type: "button", class: kind, on: { click: run } }, label);
    const removal = button("Delete all…", () => removal.replaceWith(confirmation), "plain danger");
    const confirmation = make(
      "span",
      { class: "row" },
      "Delete every conversation in this browser?",
      button("Delete all", () => { confirmation.replaceWith(removal); actions.removeAll(); }, "strong danger"),
      button("Keep them", () => confirmation.replaceWith(removal)),
    );
    return make("div", { class: "row wrap" }, button("Export all", actions.exportAll), button("Export this one", actions.exportOne), button("Import…", () => file.click()), file, removal);
  }
}

/** Asks for the key when the server wants one. */
class KeyDialog {
  /** actions: given(), refused(). */
  constructor(settings, actions) {
    this.settings = settings;
    this.dialog = $("key-dialog");
    this.words = make("p");
    this.field = make("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-problem" });
    this.problem = make("p", { id: "key-problem", class: "wrong", role: "alert" });
    const form = make(
      "form",
      { on: { submit: (event) => { event.preventDefault(); this.take(actions); } } },
      make("div", { class: "field wide" }, make("label", { for: "key" }, "API key"), this.field, make("p", { class: "note" }, "Kept in this browser, sent to this server alone."), this.problem),
      make("div", { class: "row end" }, make("button", { type: "button", class: "plain", on: { click: () => this.dialog.close() } }, "Not now"), make("button", { class: "strong" }, "Use this key")),
    );
    this.dialog.addEventListener("close", () => this.dialog.returnValue === "given" || actions.refused());
    this.dialog.append(make("div", { class: "dialog-head" }, make("h2", { id: "key-title" }, "This server needs an API key")), make("div", { class: "dialog-body" }, this.words, form));
  }

  open(words) {
    if (this.dialog.open) return;
    this.words.textContent = words;
    this.problem.textContent = "";
    this.dialog.returnValue = "";
    this.field.value = this.settings.key;
    this.dialog.showModal();
    this.field.select();
  }

  take(actions) {
    const key = this.field.value.trim();
    if (!KEY.test(key)) {
      this.problem.textContent = "A key has letters, digits and signs only, no spaces.";
      return;
    }
    this.settings.setKey(key);
    this.dialog.close("given");
    actions.given();
  }
}

function part(title, ...children) {
  return make("section", {}, make("h3", {}, title), ...children);
}
