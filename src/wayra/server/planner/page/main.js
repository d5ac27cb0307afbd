// Puts the page together: what is edited is planned at once, what comes back is shown.

const toast = new Toast($("toast"));
const desk = new Desk();
const DEFAULT_SCENARIO = "startup-chatbot";

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = $("theme");
  const apply = () => {
    const chosen = shelf.read("settings")?.theme ?? "system";
    const dark = chosen === "dark" || (chosen === "system" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    const label = dark ? "Use the light theme" : "Use the dark theme";
    button.replaceChildren(icon(dark ? "sun" : "moon"));
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme === "dark";
    shelf.write("settings", { ...shelf.read("settings"), theme: dark ? "light" : "dark" });
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

/** Asks for the server's API key; resolves when one was given. */
function askForKey(message) {
  const dialog = $("key-dialog");
  const field = make("input", { type: "password", id: "key", autocomplete: "off", spellcheck: "false" });
  return new Promise((resolve) => {
    const form = make("form", { on: { submit: (event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) return;
      shelf.write("key", key);
      dialog.close();
      resolve();
    } } }, make("p", { class: "note" }, message), make("label", { for: "key" }, "API key"), field, make("div", { class: "row end" }, make("button", { class: "strong" }, "Use this key")));
    dialog.replaceChildren(make("div", { class: "dialog-head" }, make("h2", { id: "key-title" }, "This server needs an API key")), make("div", { class: "dialog-body" }, form));
    dialog.showModal();
    field.focus();
  });
}

/** The answer, after the key was asked for as often as it takes. */
async function withKey(ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 401) throw error;
      await askForKey(error.message);
    }
  }
}

function complain(message) {
  $("problem").replaceChildren(...(message ? [make("p", {}, message)] : []));
}

function peek(plan) {
  const [best] = plan.options;
  $("peek").hidden = false;
  $("peek").textContent = best ? `${usd(best.numbers.usd_per_month[0])} a month · ${best.label}` : "Nothing meets it";
}

function planning(workload, form, results) {
  let waiting = null;
  const latest = new Latest(async () => {
    const asked = structuredClone(workload.tables);
    const slow = setTimeout(() => { $("progress").hidden = false; }, 150);
    $("answer").setAttribute("aria-busy", "true");
    try {
      const plan = await withKey(() => desk.weigh(asked));
      complain("");
      form.blame("");
      results.show(plan, asked);
      peek(plan);
      $("answer").classList.remove("old");
      announce(plan.options.length ? `${count(plan.options.length, "option")}. Best: ${usd(plan.options[0].numbers.usd_per_month[0])} a month, ${plan.options[0].label}` : "Nothing meets it");
    } catch (error) {
      complain(error.message.replace(/^the workload(, \[\w+\])?:? /, ""));
      form.blame(error.message);
      $("answer").classList.add("old");
    }
    clearTimeout(slow);
    $("progress").hidden = true;
    $("answer").setAttribute("aria-busy", "false");
  });
  workload.addEventListener("change", () => {
    history.replaceState(null, "", `#${workload.fragment}`);
    clearTimeout(waiting);
    waiting = setTimeout(() => latest.run(), 60);
  });
  return latest;
}

function save(workload) {
  const url = URL.createObjectURL(new Blob([asToml(workload.tables)], { type: "application/toml" }));
  const name = (workload.get("name") ?? "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "workload";
  const link = make("a", { href: url, download: `${name}.toml` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  toast.show(`wayra plan ${name}.toml plans the same; wayra deploy ${name}.toml --docker sets it up`);
}

async function begin() {
  theme();
  $("to-chat").hidden = document.body.dataset.chat !== "yes";
  const facts = await withKey(() => desk.facts());
  const workload = new Workload(tablesOf(location.hash.slice(1)) ?? facts.start ?? facts.scenarios[DEFAULT_SCENARIO]);
  const form = new Form($("form"), workload, facts);
  const results = new Results($("answer"), desk, workload, new Explanation($("explain")));
  const latest = planning(workload, form, results);
  $("link").addEventListener("click", async () => toast.show((await copyText(location.href)) ? "Copied: the link holds the whole workload" : "The browser does not allow copying"));
  $("save").addEventListener("click", () => save(workload));
  window.addEventListener("hashchange", () => {
    const tables = tablesOf(location.hash.slice(1));
    if (tables && JSON.stringify(tables) !== JSON.stringify(workload.tables)) workload.replace(tables);
  });
  history.replaceState(null, "", `#${workload.fragment}`);
  await latest.run();
}

begin().catch((error) => {
  complain(error.message);
  $("answer").setAttribute("aria-busy", "false");
  $("answer").replaceChildren();
});
