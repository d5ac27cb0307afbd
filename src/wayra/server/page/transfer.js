// Conversations as a file, and back: what comes from a file is checked field by field before it is kept.

const FORMAT = "wayra-conversations";
const FORMAT_VERSION = 1;
const MAX_IMPORT_BYTES = 200_000_000;
const MAX_NODES = 100_000;
const ID = /^[a-z0-9]{1,40}$/;
const STATS = ["ttftMs", "tokens", "promptTokens", "cachedTokens", "rate", "seconds"];

function exportText(conversations) {
  return JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, exported: new Date().toISOString(), conversations }, null, 1);
}

/** Hand a text to the browser as a download. */
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The conversations of an exported file. Raises Error saying what is wrong with it. */
async function importFile(file) {
  if (file.size > MAX_IMPORT_BYTES) throw new Error(`${file.name} has ${file.size.toLocaleString("en")} bytes, limit is ${MAX_IMPORT_BYTES.toLocaleString("en")}.`);
  let found;
  try {
    found = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is not JSON; choose a file that was exported here.`);
  }
  if (found?.format !== FORMAT || !Array.isArray(found.conversations)) throw new Error(`${file.name} holds no conversations; choose a file that was exported here.`);
  if (found.version !== FORMAT_VERSION) throw new Error(`${file.name} is of version ${Number(found.version)}, this page reads ${FORMAT_VERSION}.`);
  return found.conversations.map((one, i) => {
    try {
      return readConversation(one);
    } catch (error) {
      throw new Error(`${file.name}, conversation ${i + 1}: ${error.message}. Nothing was imported.`);
    }
  });
}

/** Only what is known, of the types expected. */
function readConversation(given) {
  if (!ID.test(given?.id)) throw new Error("its id is none");
  if (!Array.isArray(given.nodes) || given.nodes.length > MAX_NODES) throw new Error("its messages are no list, or too many");
  const known = new Set([ROOT]);
  const nodes = given.nodes.map((node, i) => {
    const isRight = ID.test(node?.id) && !known.has(node.id) && known.has(node.parent) && ["user", "assistant"].includes(node.role) && typeof node.content === "string";
    if (!isRight) throw new Error(`message ${i + 1} is not as it was exported`);
    known.add(node.id);
    return readNode(node);
  });
  const chosen = {};
  for (const [parent, id] of Object.entries(given.chosen ?? {})) if (known.has(parent) && known.has(id)) chosen[parent] = id;
  return {
    id: given.id,
    title: typeof given.title === "string" ? given.title.slice(0, 200) : "",
    isNamed: given.isNamed === true,
    created: timeOf(given.created),
    updated: timeOf(given.updated),
    nodes,
    chosen,
  };
}

function readNode({ id, parent, role, content, created, model, finish, stats, error }) {
  const node = { id, parent, role, content, created: timeOf(created) };
  if (typeof model === "string") node.model = model.slice(0, 200);
  if (typeof finish === "string") node.finish = finish.slice(0, 40);
  if (typeof error?.message === "string") node.error = { message: error.message.slice(0, 2000), status: Number(error.status) || 0 };
  if (stats && typeof stats === "object") {
    node.stats = {};
    for (const name of STATS) if (Number.isFinite(stats[name])) node.stats[name] = stats[name];
  }
  return node;
}

function timeOf(given) {
  return Number.isFinite(given) && given >= 0 && given < 8.64e15 ? given : Date.now();
}
