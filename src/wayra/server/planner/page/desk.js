// The planner as this page asks it: one question at a time, of many that come meanwhile only the last.

class DeskError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

class Desk {
  get key() {
    return shelf.read("key");
  }

  async facts() {
    return this.ask("/plan/facts");
  }

  async weigh(workload) {
    return this.ask("/plan/weigh", { workload });
  }

  async explain(workload, option, batch = null) {
    return this.ask("/plan/explain", { workload, option, batch });
  }

  /** Raises DeskError in the server's own words. A busy server is asked again. */
  async ask(path, body = null, tries = 6) {
    const key = this.key;
    const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { "content-type": "application/json" } : {}) };
    let response;
    try {
      response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store" });
    } catch {
      throw new DeskError(0, "The planner does not answer. Is it still running?");
    }
    if (response.ok) return response.json();
    if (response.status === 429 && tries > 0) {
      await new Promise((resolve) => setTimeout(resolve, Number(response.headers.get("retry-after-ms")) || 500));
      return this.ask(path, body, tries - 1);
    }
    const said = await response.json().then(({ error }) => error.message, () => `The server answered ${response.status}`);
    throw new DeskError(response.status, said);
  }
}

/** Runs `work` again for what came while it ran, once, with what is newest then. */
class Latest {
  constructor(work) {
    this.work = work;
    this.running = false;
    this.again = false;
  }

  async run() {
    if (this.running) {
      this.again = true;
      return;
    }
    this.running = true;
    do {
      this.again = false;
      await this.work();
    } while (this.again);
    this.running = false;
  }
}
