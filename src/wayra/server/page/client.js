// The server as this page uses it: models, streamed answers, metrics. Failures come in the server's own words.

/** status: 0 when there was no answer at all. */
class ServerError extends Error {
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const UNREACHABLE = "The server does not answer. Is it still running?";
const CUT_OFF = "The connection ended before the answer did.";

class Client {
  constructor(settings) {
    this.settings = settings;
  }

  /** Raises ServerError for anything but success, AbortError. */
  async ask(path, options = {}) {
    const key = this.settings.key;
    const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...options.headers };
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(0, UNREACHABLE);
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /** The served models, each once: several names may stand for one. */
  async models() {
    const list = await (await this.ask("/v1/models")).json();
    const seen = new Set();
    return list.data.filter(({ root, id }) => !seen.has(root ?? id) && seen.add(root ?? id));
  }

  async metrics(signal) {
    return (await this.ask("/metrics", { signal })).text();
  }

  /** The events of a streamed answer. Raises ServerError, also when it ends too early; AbortError. */
  async *chat(body, signal) {
    const response = await this.ask("/v1/chat/completions", {
      method: "POST",
      signal,
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ServerError(0, CUT_OFF);
      }
      if (part.done) throw new ServerError(0, CUT_OFF);
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "data: [DONE]") return;
        if (line.startsWith("data: ")) yield eventOf(line.slice(6));
      }
    }
  }
}

/** Raises ServerError for the error that a stream may end with. */
function eventOf(text) {
  const event = JSON.parse(text);
  if (event.error) throw new ServerError(500, event.error.message, event.error.code);
  return event;
}

async function refusal(response) {
  try {
    const { error } = await response.json();
    return new ServerError(response.status, error.message, error.code);
  } catch {
    return new ServerError(response.status, `The server answered ${response.status} ${response.statusText}`.trim());
  }
}

/** A model's name as people say it: of a path, only what the file is called. */
function shortName(id) {
  const isPath = /^(?:[/.~]|[A-Za-z]:\\)/.test(id);
  return isPath ? id.split(/[/\\]/).filter(Boolean).at(-1)?.replace(/\.gguf$/i, "") || id : id;
}
