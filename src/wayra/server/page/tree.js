// A conversation is a tree: an edited message or another answer is a branch beside the old one, so nothing is lost.

const ROOT = "";

function newConversation() {
  const now = Date.now();
  return { id: newId(), title: "", isNamed: false, created: now, updated: now, nodes: [], chosen: {} };
}

/** Add a message after another one (or at the root) and make it the one shown. */
function addNode(conversation, parent, role, content) {
  const node = { id: newId(), parent, role, content, created: Date.now() };
  conversation.nodes.push(node);
  conversation.chosen[parent] = node.id;
  conversation.updated = node.created;
  if (!conversation.isNamed && role === "user" && !conversation.title) conversation.title = titleOf(content);
  return node;
}

function titleOf(content) {
  const line = content.trim().split("\n", 1)[0].replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}

/** The messages after each message, in the order they were made. */
function childrenOf(conversation) {
  const found = new Map();
  for (const node of conversation.nodes) {
    if (!found.has(node.parent)) found.set(node.parent, []);
    found.get(node.parent).push(node);
  }
  return found;
}

/** The messages shown, from the first to the last, each with its branches. */
function shownPath(conversation) {
  const children = childrenOf(conversation), path = [];
  for (let at = ROOT; children.has(at); at = path.at(-1).node.id) {
    const branches = children.get(at);
    const node = branches.find((one) => one.id === conversation.chosen[at]) ?? branches.at(-1);
    path.push({ node, branches });
  }
  return path;
}

/** The messages that lead to one, itself included. */
function pathTo(conversation, id) {
  const byId = new Map(conversation.nodes.map((node) => [node.id, node])), path = [];
  for (let node = byId.get(id); node; node = byId.get(node.parent)) path.unshift(node);
  return path;
}

function removeNode(conversation, id) {
  const gone = conversation.nodes.find((node) => node.id === id);
  conversation.nodes = conversation.nodes.filter((node) => node.id !== id);
  if (gone && conversation.chosen[gone.parent] === id) delete conversation.chosen[gone.parent];
}

/** What a model is shown of a conversation, up to a message of the user. Thoughts and failed answers are not shown again. */
function messagesFor(conversation, id, system) {
  const said = pathTo(conversation, id).filter((node) => node.content);
  const messages = said.map(({ role, content }) => ({ role, content: role === "assistant" ? withoutThoughts(content) : content }));
  return system.trim() ? [{ role: "system", content: system }, ...messages] : messages;
}

const THOUGHTS = /^\s*<think>([^]*?)(?:<\/think>\s*|$)/;

/** An answer's two parts, for models that think aloud first. */
function splitThoughts(content) {
  const found = THOUGHTS.exec(content);
  return found ? { thoughts: found[1], answer: content.slice(found[0].length), isThinking: !found[0].includes("</think>") } : { thoughts: "", answer: content, isThinking: false };
}

function withoutThoughts(content) {
  return splitThoughts(content).answer || content;
}
