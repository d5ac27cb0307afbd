// The chat page: sends the conversation to the server it came from and shows the answer as it grows.
"use strict";
const $ = (id) => document.getElementById(id);
let messages = [], running = null;
try { messages = JSON.parse(localStorage.getItem("wayra.chat")) || []; } catch { messages = []; }
const save = () => { try { localStorage.setItem("wayra.chat", JSON.stringify(messages)); } catch { /* full or forbidden */ } };
// Text only ever enters the page as text nodes.
function show(node, text) {
  node.replaceChildren();
  text.split(/```/).forEach((part, i) => {
    if (i % 2 === 0) { node.append(part); return; }
    const pre = document.createElement("pre");
    pre.textContent = part.replace(/^[^\n]*\n/, "");
    node.append(pre);
  });
}
function add(message) {
  const node = document.createElement("article");
  node.className = message.role;
  node.setAttribute("aria-label", message.role === "user" ? "You" : "Model");
  show(node, message.content);
  $("log").append(node);
  $("log").scrollTop = $("log").scrollHeight;
  return node;
}
function paint() {
  $("log").replaceChildren();
  if (messages.length) messages.forEach(add);
  else { const p = document.createElement("p"); p.textContent = "Ask something. Conversations stay in this browser."; $("log").append(p); }
}
async function* pieces(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event.choices?.[0]?.delta?.content || "";
    }
  }
}
async function ask(text) {
  messages.push({ role: "user", content: text });
  paint();
  const body = JSON.stringify({ messages, stream: true });
  const answer = { role: "assistant", content: "" }, node = add(answer), began = performance.now();
  let first = 0;
  running = new AbortController();
  $("send").textContent = "Stop";
  $("status").textContent = "";
  try {
    const response = await fetch("/v1/chat/completions", { method: "POST", body, signal: running.signal, headers: { "content-type": "application/json" } });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const piece of pieces(response)) {
      if (piece && !first) first = performance.now();
      answer.content += piece;
      show(node, answer.content);
      $("log").scrollTop = $("log").scrollHeight;
    }
    if (first) $("status").textContent = `First token after ${Math.round(first - began)} ms`;
  } catch (error) {
    $("status").textContent = error.name === "AbortError" ? "Stopped." : `${error.message}. Send again to retry.`;
  }
  if (answer.content) messages.push(answer); else { messages.pop(); $("prompt").value = text; paint(); }
  running = null;
  save();
  $("send").textContent = "Send";
}
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) { running.abort(); return; }
  const text = $("prompt").value.trim();
  if (text) { $("prompt").value = ""; ask(text); }
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !running) { event.preventDefault(); $("form").requestSubmit(); }
});
$("clear").addEventListener("click", () => { if (!running) { messages = []; save(); paint(); $("prompt").focus(); } });
async function watch() {
  try {
    const text = await (await fetch("/metrics")).text();
    const gauge = (name) => Number(text.match(new RegExp(`^vllm:${name}\\{.*\\} (\\S+)$`, "m"))?.[1] ?? 0);
    $("engine").textContent = `Running ${gauge("num_requests_running")} · waiting ${gauge("num_requests_waiting")} · KV ${Math.round(100 * gauge("kv_cache_usage_perc"))} %`;
  } catch { $("engine").textContent = "The server does not answer; is it still running?"; }
  setTimeout(watch, 2000);
}
fetch("/v1/models").then((r) => r.json()).then((list) => { $("model").textContent = list.data[0].id; }).catch(() => {});
paint();
watch();
