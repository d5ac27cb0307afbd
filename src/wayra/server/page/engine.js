// What the engine does now, read from the server's metrics every few seconds while somebody can see it.

const POLL_MS = 2000;
const SOON_MS = 250;
const MAX_POLL_MS = 15_000;
const HISTORY = 60;
const SAMPLE = /^([a-z_:]+)\{([^}]*)\} (\S+)$/;
const ROWS = [
  ["running", "Running", "Requests being computed"],
  ["waiting", "Waiting", "Requests in the queue"],
  ["batch", "Batch", "Tokens computed in one step, on average since the last look"],
  ["kv", "KV cache", "Share of the KV cache in use"],
  ["reads", "Prompt", "Tokens of prompts read in a second, those from the cache included"],
  ["hits", "Reused", "Share of all prompt tokens so far that were in the prefix cache"],
];

/** The samples of one model by name, labels that tell more left out. */
function samplesOf(text, model) {
  const found = new Map(), wanted = `model_name="${model.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
  for (const line of text.split("\n")) {
    const [, name, labels, value] = SAMPLE.exec(line) ?? [];
    if (name && labels === wanted) found.set(name.replace(/^(?:vllm|wayra):/, ""), Number(value));
  }
  return found;
}

/** Tells `onState` null when the server answers, the ServerError when it does not. */
class EngineView {
  constructor(client, modelName, onState) {
    this.client = client;
    this.modelName = modelName;
    this.onState = onState;
    this.before = null;
    this.history = [];
    this.waitMs = POLL_MS;
    this.build();
    document.addEventListener("visibilitychange", () => this.restart());
  }

  build() {
    this.rate = make("strong", {}, "–");
    this.values = new Map(ROWS.map(([name]) => [name, make("dd", {}, "–")]));
    this.line = document.createElementNS(SVG, "polyline");
    const chart = document.createElementNS(SVG, "svg");
    chart.setAttribute("viewBox", `0 0 ${HISTORY - 1} 20`);
    chart.setAttribute("preserveAspectRatio", "none");
    chart.setAttribute("aria-hidden", "true");
    chart.setAttribute("class", "chart");
    chart.append(this.line);
    const rows = ROWS.map(([name, label, hint]) => make("div", { title: hint }, make("dt", {}, label), this.values.get(name)));
    this.state = make("span", { class: "state" }, "…");
    $("engine").replaceChildren(make("h2", {}, "Engine", this.state), make("p", { class: "rate" }, this.rate, " tokens/s"), chart, make("dl", {}, ...rows));
  }

  /** Look at once, and again after a while; not while the page is hidden. */
  restart() {
    clearTimeout(this.timer);
    this.abort?.abort();
    // Rates over the time nobody looked would be of no use.
    this.before = null;
    this.waitMs = POLL_MS;
    if (!document.hidden) this.look();
  }

  /** Something has begun or ended: look before the next turn. */
  soon() {
    if (document.hidden || this.waitMs !== POLL_MS) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), SOON_MS);
  }

  async look() {
    const abort = (this.abort = new AbortController());
    try {
      this.show(samplesOf(await this.client.metrics(AbortSignal.any([abort.signal, AbortSignal.timeout(MAX_POLL_MS)])), this.modelName()));
      this.waitMs = POLL_MS;
      this.onState(null);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.before = null;
      this.state.textContent = "offline";
      this.state.className = "state off";
      this.waitMs = Math.min(MAX_POLL_MS, this.waitMs * 2);
      this.onState(error instanceof ServerError ? error : new ServerError(0, UNREACHABLE), this.waitMs);
    }
    if (this.abort === abort) this.timer = setTimeout(() => this.look(), this.waitMs);
  }

  show(now) {
    const time = performance.now(), { before } = this;
    this.before = { now, time };
    const since = (name) => (before ? Math.max(0, (now.get(name) ?? 0) - (before.now.get(name) ?? 0)) : 0);
    const seconds = before ? (time - before.time) / 1000 : Infinity;
    const rate = since("generation_tokens_total") / seconds;
    const steps = since("engine_steps_total");
    const computed = since("generation_tokens_total") + since("prompt_tokens_total") - since("prefix_cache_hits_total");
    const queries = now.get("prefix_cache_queries_total") ?? 0;
    const running = now.get("num_requests_running") ?? 0;
    const texts = {
      running: String(running),
      waiting: String(now.get("num_requests_waiting") ?? 0),
      batch: steps ? (computed / steps).toFixed(1) : "–",
      kv: percent(now.get("kv_cache_usage_perc") ?? 0),
      reads: `${Math.round(since("prompt_tokens_total") / seconds)}/s`,
      hits: queries ? percent((now.get("prefix_cache_hits_total") ?? 0) / queries) : "–",
    };
    for (const [name, text] of Object.entries(texts)) this.values.get(name).textContent = text;
    this.rate.textContent = rate < 100 ? rate.toFixed(1) : String(Math.round(rate));
    this.state.textContent = running ? "busy" : "idle";
    this.state.className = running ? "state busy" : "state";
    this.draw(rate);
  }

  draw(rate) {
    this.history.push(rate);
    if (this.history.length > HISTORY) this.history.shift();
    const top = Math.max(1, ...this.history), left = HISTORY - this.history.length;
    this.line.setAttribute("points", this.history.map((value, i) => `${left + i},${(19 - (18 * value) / top).toFixed(2)}`).join(" "));
  }
}

function percent(share) {
  const value = 100 * share;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}
