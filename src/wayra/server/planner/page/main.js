// Puts the page together: what is edited is planned at once, what comes back is shown.

const toast = new Toast($("toast"));
const desk = new Desk();
const DEFAULT_SCENARIO = "startup-chatbot";
const OLD_PLAN = "The plan shown is of the numbers before.";

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = $("theme");
  const apply = () => {
    const chosen = shelf.read("theme");
    const dark = chosen === "dark" || (chosen !== "light" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    const label = dark ? "Use the light theme" : "Use the dark theme";
    button.replaceChildren(icon(dark ? "sun" : "moon"));
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    shelf.write("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
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

/** What keeps the workload from being planned, with a way to the field it is about. */
function complain(message, toField = null) {
  const problem = $("problem");
  problem.replaceChildren(...(message ? [make("p", {}, message), toField && make("button", { type: "button", class: "plain", on: { click: toField } }, "Go to the field")].filter(Boolean) : []));
  $("peek").classList.toggle("wrong", Boolean(message));
  if (message) Object.assign($("peek"), { textContent: message, hidden: false });
}

function peek(plan) {
  const [best] = plan.options;
  $("peek").hidden = false;
  $("peek").textContent = best ? `${usd(best.numbers.usd_per_month[0])} a month · ${best.label}` : "Nothing meets it";
}

/** Asks for the plan of what is edited, and shows it or what is wrong. */
class Planning {
  constructor(workload, form, results) {
    Object.assign(this, { workload, form, results, waiting: null, field: null });
    this.latest = new Latest(() => this.plan());
    form.node.addEventListener("wrong", () => this.refuse());
    workload.addEventListener("change", () => {
      history.replaceState(null, "", `#${workload.fragment}`);
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.latest.run(), 60);
    });
  }

  /** From the foot of a phone: to the plan, or to the field that keeps it from being made. */
  goOn() {
    if ($("peek").classList.contains("wrong") && this.field?.isConnected) this.form.goTo(this.field);
    else this.toPlan();
  }

  toPlan() {
    $("results").focus({ preventScroll: true });
    $("results").scrollIntoView();
  }

  /** A number as it is written cannot be planned: nothing is asked. */
  refuse() {
    const input = this.form.wrong;
    this.blamed(`${$(input.getAttribute("aria-describedby")).textContent} ${OLD_PLAN}`, input);
  }

  blamed(message, input) {
    this.field = input;
    complain(message, input && (() => this.form.goTo(input)));
    $("answer").classList.add("old");
  }

  async plan() {
    if (this.form.wrong) return this.refuse();
    const asked = structuredClone(this.workload.tables);
    const slow = setTimeout(() => { $("progress").hidden = false; }, 150);
    $("answer").setAttribute("aria-busy", "true");
    try {
      this.show(await withKey(() => desk.weigh(asked)), asked);
    } catch (error) {
      const said = error.message.replace(/^the workload(, \[\w+\])?:? /, "");
      const input = this.form.blame(said);
      const message = input?.dataset.label ? `${input.dataset.label}: ${said}` : said;
      this.blamed(this.results.plan ? `${message}${/[.!?]$/.test(message) ? "" : "."} ${OLD_PLAN}` : message, input);
    }
    clearTimeout(slow);
    $("progress").hidden = true;
    $("answer").setAttribute("aria-busy", "false");
  }

  show(plan, asked) {
    // Meanwhile something else may have been written that is wrong.
    if (!this.form.wrong) {
      complain("");
      this.form.blame("");
      $("answer").classList.remove("old");
    }
    this.results.show(plan, asked);
    if (!this.form.wrong) peek(plan);
    announce(plan.options.length ? `${count(plan.options.length, "option")}. Best: ${usd(plan.options[0].numbers.usd_per_month[0])} a month, ${plan.options[0].label}` : "Nothing meets it");
  }
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
  const results = new Results($("answer"), desk, workload, new Explanation($("explain"), facts.labels), facts.benchmarks);
  const planning = new Planning(workload, form, results);
  // The address holds the workload and must go on doing so.
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); planning.toPlan(); });
  $("peek").addEventListener("click", (event) => { event.preventDefault(); planning.goOn(); });
  $("link").addEventListener("click", async () => toast.show((await copyText(location.href)) ? "Copied: the link holds the whole workload" : "The browser does not allow copying"));
  $("save").addEventListener("click", () => save(workload));
  window.addEventListener("hashchange", () => {
    const tables = tablesOf(location.hash.slice(1));
    if (tables && JSON.stringify(tables) !== JSON.stringify(workload.tables)) workload.replace(tables);
  });
  history.replaceState(null, "", `#${workload.fragment}`);
  await planning.latest.run();
  // What a link or a file brought and cannot be planned.
  if (!results.plan && planning.field) form.goTo(planning.field);
}

begin().catch((error) => {
  complain(error.message);
  $("answer").setAttribute("aria-busy", "false");
  $("answer").replaceChildren();
});
