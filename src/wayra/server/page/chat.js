// The conversation that is shown, and answers while they are written, of it and of others.

/** One answer being written. */
class Run {
  constructor(conversation, node) {
    this.conversation = conversation;
    this.node = node;
    this.abort = new AbortController();
    this.began = performance.now();
    this.first = null;
    this.last = null;
    this.pieces = 0;
    this.usage = null;
  }

  /** Write the answer to its end; what went wrong is noted in the message. */
  async go(client, body, onPiece) {
    const { node } = this;
    try {
      for await (const event of client.chat(body, this.abort.signal)) {
        this.usage = event.usage ?? this.usage;
        const choice = event.choices[0];
        if (choice?.delta?.content) {
          node.content += choice.delta.content;
          this.pieces += 1;
          this.last = performance.now();
          this.first ??= this.last;
          onPiece(this);
        }
        if (choice?.finish_reason) node.finish = choice.finish_reason;
      }
    } catch (error) {
      if (error.name === "AbortError") node.finish = "stopped";
      else if (error instanceof ServerError) node.error = { message: error.message, status: error.status };
      else node.error = { message: `This page failed: ${error.message}`, status: 0 };
    }
    node.stats = this.stats();
  }

  /** While it is written, tokens are counted by pieces, which are a little fewer. */
  stats() {
    if (this.first === null) return {};
    const tokens = this.usage?.completion_tokens ?? this.pieces;
    const seconds = (this.last - this.first) / 1000;
    const stats = { ttftMs: this.first - this.began, tokens, seconds };
    if (tokens > 1 && seconds > 0) stats.rate = (tokens - 1) / seconds;
    if (this.usage) {
      stats.promptTokens = this.usage.prompt_tokens;
      stats.cachedTokens = this.usage.prompt_tokens_details?.cached_tokens ?? 0;
    }
    return stats;
  }
}

const EXAMPLES = [
  ["Explain", "Explain how a bicycle stays upright, in three short paragraphs."],
  ["Write", "Write a friendly e-mail that moves Friday's meeting to Monday at ten."],
  ["Code", "Write a Python function that returns the n-th Fibonacci number, with a short explanation."],
  ["Compare", "Compare tea and coffee in a table: taste, caffeine, preparation."],
];
const NEAR_END_PX = 60;
const MAX_REST_MS = 500;

class ChatView {
  /** actions: those of MessageView, and ask(text). */
  constructor(actions) {
    this.actions = actions;
    this.log = $("log");
    this.list = $("messages");
    this.views = new Map();
    this.follows = true;
    this.frame = null;
    this.restMs = 0;
    this.log.addEventListener("scroll", () => this.scrolled(), { passive: true });
    $("latest").addEventListener("click", () => this.toEnd());
    // What grows below the messages must not hide their end.
    new ResizeObserver(() => this.follows && this.toEnd()).observe(this.log);
  }

  /** Show a conversation, or examples where there is none. runOf: the run that writes a message, or null. */
  show(conversation, runOf) {
    const path = conversation ? shownPath(conversation) : [];
    this.runOf = runOf;
    this.views.clear();
    const articles = path.map((step) => {
      const view = new MessageView(step, this.actions);
      this.views.set(step.node.id, view);
      view.update(runOf(step.node));
      return view.element;
    });
    this.list.replaceChildren(...(articles.length ? articles : [this.welcome()]));
  }

  welcome() {
    const button = ([name, text]) => make("button", { type: "button", class: "example", on: { click: () => this.actions.ask(text) } }, make("strong", {}, name), make("span", {}, text));
    return make(
      "div",
      { class: "welcome" },
      make("h2", {}, "Ask something"),
      make("p", {}, "The model runs on this server. Conversations stay in this browser."),
      make("div", { class: "examples" }, ...EXAMPLES.map(button)),
    );
  }

  /** A message has changed: show it with the next frame, or later where showing takes long, so that reading goes on. */
  changed(node) {
    this.dirty = node;
    if (this.frame !== null) return;
    this.frame = setTimeout(() => requestAnimationFrame(() => this.paint()), Math.min(MAX_REST_MS, this.restMs));
  }

  paint() {
    clearTimeout(this.frame);
    this.frame = null;
    const began = performance.now();
    const node = this.dirty;
    this.views.get(node?.id)?.update(this.runOf(node));
    if (this.follows) this.toEnd();
    this.restMs = 2 * (performance.now() - began);
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    $("latest").hidden = this.follows;
  }

  toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
    this.follows = true;
    $("latest").hidden = true;
  }
}
