// One message as it is shown: its text, what can be done with it, its branches, and the figures of an answer.

/** do: edit(node, text), retry(node), choose(node), enterKey(). */
class MessageView {
  constructor({ node, branches }, actions) {
    this.node = node;
    this.branches = branches;
    this.actions = actions;
    this.isUser = node.role === "user";
    this.body = make("div", { class: "body" });
    this.foot = make("div", { class: "foot" });
    this.element = make("article", { class: `message ${node.role}`, "aria-label": this.isUser ? "You" : `Answer of ${node.model ? shortName(node.model) : "the model"}` });
    if (!this.isUser && node.model) this.element.append(make("p", { class: "who", title: node.model }, shortName(node.model)));
    this.element.append(this.body, this.foot);
    if (this.isUser) this.body.append(node.content);
  }

  /** Show what the message is now. run: the one that writes it, or null. */
  update(run) {
    if (!this.isUser) this.updateAnswer(run !== null);
    if (this.shownFoot !== (run === null)) {
      this.foot.replaceChildren(...this.footing(run));
      this.shownFoot = run === null;
    }
    if (!this.isUser) this.updateFigures(run);
    this.element.setAttribute("aria-busy", String(run !== null));
  }

  updateAnswer(isRunning) {
    const { node, body } = this;
    const { thoughts, answer, isThinking } = splitThoughts(node.content);
    if (thoughts.trim()) {
      if (!this.thoughts) {
        const text = make("div", { class: "markdown" });
        this.summary = make("summary");
        body.prepend(make("details", { class: "thoughts" }, this.summary, text));
        this.thoughts = new Markdown(text);
      }
      this.summary.textContent = isThinking && isRunning ? "Thinking…" : "Thoughts";
      this.thoughts.update(thoughts, !isThinking || !isRunning);
    }
    if (!this.answer) {
      const text = make("div", { class: "markdown" });
      body.append(text);
      this.answer = new Markdown(text);
    }
    this.answer.update(answer, !isRunning);
    const isWaiting = isRunning && !node.content;
    if (isWaiting !== Boolean(this.waiting)) {
      this.waiting?.remove();
      this.waiting = isWaiting ? make("p", { class: "waiting" }, make("span", { class: "hidden" }, "Waiting for the first word"), make("i"), make("i"), make("i")) : null;
      if (this.waiting) body.append(this.waiting);
    }
    this.updateError(isRunning);
  }

  updateError(isRunning) {
    const { error } = this.node;
    this.problem?.remove();
    this.problem = null;
    if (!error || isRunning) return;
    const again = make("button", { type: "button", class: "plain", on: { click: () => this.actions.retry(this.node) } }, "Try again");
    const key = error.status === 401 ? make("button", { type: "button", class: "plain", on: { click: () => this.actions.enterKey(this.node) } }, "Enter the API key") : null;
    this.problem = make("div", { class: "problem", role: "alert" }, make("p", {}, error.message), make("div", { class: "row" }, key, again));
    this.body.append(this.problem);
  }

  footing(run) {
    const { node } = this;
    if (run) return [(this.figures = make("span", { class: "figures" }))];
    const parts = [];
    if (this.branches.length > 1) parts.push(this.branchSwitch());
    if (node.content) parts.push(copyButton(() => (this.isUser ? node.content : withoutThoughts(node.content)), "Copy message"));
    if (this.isUser) parts.push(iconButton("edit", "Edit message", () => this.edit()));
    else parts.push(iconButton("retry", "Another answer", () => this.actions.retry(node)));
    if (!this.isUser) parts.push((this.figures = make("span", { class: "figures" })));
    return parts;
  }

  branchSwitch() {
    const at = this.branches.indexOf(this.node), last = this.branches.length - 1;
    const to = (index) => () => this.actions.choose(this.branches[index]);
    return make(
      "span",
      { class: "branches", role: "group", "aria-label": "Versions" },
      iconButton("left", "Version before", to(at - 1), { disabled: at === 0 }),
      make("span", {}, make("span", { class: "hidden" }, "Version "), `${at + 1} / ${last + 1}`),
      iconButton("right", "Version after", to(at + 1), { disabled: at === last }),
    );
  }

  updateFigures(run) {
    const { node } = this;
    const stats = run ? run.stats() : node.stats;
    const parts = [];
    if (stats?.rate) parts.push(`${stats.rate < 100 ? stats.rate.toFixed(1) : Math.round(stats.rate).toLocaleString("en")} tok/s`);
    if (stats?.ttftMs !== undefined) parts.push(`first token ${duration(stats.ttftMs)}`);
    if (stats?.tokens) parts.push(count(stats.tokens, "token"));
    if (!run && node.finish === "stopped") parts.push("stopped");
    // Its page was closed meanwhile, or another one still writes it.
    if (!run && !node.finish && !node.error) parts.push("unfinished");
    if (!run && node.finish === "stop" && !node.content) parts.push("an empty answer");
    if (!run && node.finish === "length") parts.push("cut at the limit of tokens");
    this.figures.textContent = parts.join(" · ");
    if (stats?.promptTokens) this.figures.title = `Prompt: ${count(stats.promptTokens, "token")}, ${stats.cachedTokens ?? 0} of them from the cache`;
  }

  /** Turn the message into a field; what is sent from it becomes a branch beside the message. */
  edit() {
    const field = make("textarea", { rows: "1", "aria-label": "Edited message" });
    field.value = this.node.content;
    const leave = () => {
      form.replaceWith(this.body, this.foot);
      this.foot.querySelector('[aria-label="Edit message"]')?.focus();
    };
    const form = make(
      "form",
      { class: "edit", on: { submit: (event) => { event.preventDefault(); if (field.value.trim()) this.actions.edit(this.node, field.value.trim()); } } },
      field,
      make("div", { class: "row" }, make("span", { class: "note" }, "The version before is kept."), make("button", { type: "button", class: "plain", on: { click: leave } }, "Cancel"), make("button", { class: "strong" }, "Send")),
    );
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        leave();
      } else if (sends(event)) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    field.addEventListener("input", () => fit(field));
    this.body.replaceWith(form);
    this.foot.remove();
    fit(field);
    field.focus();
  }
}

/** Make a field as high as its text, for browsers that do not by themselves. */
function fit(field) {
  if (CSS.supports("field-sizing", "content")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

/** Whether a key press sends: Enter, but not while letters are composed nor where a thumb cannot press Shift with it. */
function sends(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(pointer: coarse) and (max-width: 50rem)").matches;
}

function duration(ms) {
  return ms < 995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 9950 ? 2 : 1)} s`;
}
