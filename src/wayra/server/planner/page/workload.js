// The workload being edited: the tables of a workload file, kept in the address, written as TOML.

class Workload extends EventTarget {
  constructor(tables) {
    super();
    this.tables = structuredClone(tables);
  }

  get(...path) {
    return pathOf(path, this.tables);
  }

  /** undefined removes the key, and the table when nothing is left in it. */
  set(value, ...path) {
    const last = path.at(-1);
    let node = this.tables;
    for (const key of path.slice(0, -1)) node = node[key] ??= {};
    if (value === undefined) delete node[last];
    else node[last] = value;
    if (path.length === 2 && Object.keys(node).length === 0) delete this.tables[path[0]];
    this.changed();
  }

  /** Another one in its place: every field is drawn again. */
  replace(tables) {
    this.tables = structuredClone(tables);
    this.dispatchEvent(new Event("replaced"));
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** For the address of the page. */
  get fragment() {
    const bytes = new TextEncoder().encode(JSON.stringify(this.tables));
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  }
}

/** What a fragment holds; null when it is none of ours. */
function tablesOf(fragment) {
  try {
    const text = atob(fragment.replaceAll("-", "+").replaceAll("_", "/"));
    const tables = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    return tables && typeof tables === "object" && !Array.isArray(tables) ? tables : null;
  } catch {
    return null;
  }
}

/** Tables as the TOML that `wayra plan FILE` reads. */
function asToml(tables) {
  const plain = ([, value]) => typeof value !== "object" || value === null;
  const lines = Object.entries(tables).filter(plain).map(([key, value]) => `${key} = ${tomlValue(value)}`);
  for (const [name, table] of Object.entries(tables)) {
    if (Array.isArray(table)) {
      for (const row of table) lines.push("", `[[${name}]]`, ...Object.entries(row).map(([key, value]) => `${key} = ${tomlValue(value)}`));
    } else if (typeof table === "object" && table !== null) {
      lines.push("", `[${name}]`, ...Object.entries(table).map(([key, value]) => `${tomlKey(key)} = ${tomlValue(value)}`));
    }
  }
  return `${lines.join("\n")}\n`;
}

function tomlValue(value) {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value === "object") return `{ ${Object.entries(value).map(([key, one]) => `${tomlKey(key)} = ${tomlValue(one)}`).join(", ")} }`;
  if (typeof value !== "number") return JSON.stringify(value);
  // TOML has no 1e+21, but 1e21.
  return String(value).replace("e+", "e");
}

const tomlKey = (key) => (/^[\w-]+$/.test(key) ? key : JSON.stringify(key));
