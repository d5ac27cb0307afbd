// Conversations in the browser's database: all of them in memory, each written whole when it changes.

const DATABASE = "wayra";
const TABLE = "conversations";

/** Tells `onTrouble` in words what cannot be kept (null: all is well again), `onChange` which one another tab changed. */
class Store {
  constructor(onTrouble, onChange) {
    this.all = new Map();
    this.db = null;
    this.onTrouble = onTrouble;
    this.onChange = onChange;
    this.trouble = null;
    this.channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("wayra") : null;
    this.channel?.addEventListener("message", (event) => this.changedElsewhere(event.data));
  }

  async open() {
    try {
      this.db = await answered(upgraded(indexedDB.open(DATABASE, 1)));
      // A newer page in another tab wants to change the shape.
      this.db.onversionchange = () => this.db.close();
      for (const one of await answered(this.table("readonly").getAll())) this.all.set(one.id, one);
    } catch {
      this.db = null;
      this.tell("This browser keeps nothing for this page (a private window, perhaps): conversations are gone when it is closed.");
    }
  }

  table(mode) {
    return this.db.transaction(TABLE, mode).objectStore(TABLE);
  }

  /** Newest first. */
  sorted() {
    return [...this.all.values()].sort((one, other) => other.updated - one.updated);
  }

  async put(conversation) {
    this.all.set(conversation.id, conversation);
    await this.write((table) => table.put(conversation), conversation.id);
  }

  async remove(id) {
    this.all.delete(id);
    await this.write((table) => table.delete(id), id);
  }

  async clear() {
    this.all.clear();
    await this.write((table) => table.clear(), null);
  }

  async write(change, id) {
    if (!this.db) return;
    try {
      const table = this.table("readwrite");
      change(table);
      await committed(table.transaction);
      this.channel?.postMessage(id);
      this.tell(null);
    } catch (error) {
      const isFull = error?.name === "QuotaExceededError";
      this.tell(
        isFull
          ? "The browser has no room left for this page: what is new is not kept. Export and delete some conversations."
          : `The browser could not keep this conversation (${error?.message || error?.name || "unknown reason"}). Export it to be safe.`,
      );
    }
  }

  tell(trouble) {
    if (trouble === this.trouble) return;
    this.trouble = trouble;
    this.onTrouble(trouble);
  }

  async changedElsewhere(id) {
    if (!this.db) return;
    try {
      const found = id === null ? await answered(this.table("readonly").getAll()) : [await answered(this.table("readonly").get(id))];
      if (id === null) this.all.clear();
      else this.all.delete(id);
      for (const one of found) if (one) this.all.set(one.id, one);
      this.onChange(id);
    } catch {
      // The next reload shows it.
    }
  }
}

function answered(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab holds the database"));
  });
}

function committed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

function upgraded(request) {
  request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
  return request;
}
