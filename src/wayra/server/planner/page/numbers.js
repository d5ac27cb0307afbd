// Numbers and names as people read them.
const NARROW = matchMedia("(max-width:56rem)");
const TITLES = {
  usd_per_month: "Cost a month",
  usd_per_mtok: "Cost a million tokens",
  hardware_usd: "Hardware, once",
  memory_gb: "Memory of one machine",
  machines: "Machines",
  latency_p95_s: "Whole answer, P95",
  ttft_p95_s: "First token, P95",
  tok_per_s: "Tokens a second, one user",
  capacity_mtok_per_month: "Capacity of one machine",
  requests_per_s: "Requests a second",
  training_usd: "One training run",
  training_hours: "One training run",
  mtok_per_month: "Tokens a month",
  peak_requests_per_s: "Requests a second at the peak",
};
const KINDS = { api: "API", rented: "Rented", owned: "Owned", have: "Already there", hybrid: "Hybrid" };

/** Four significant digits; all digits of large whole numbers. */
function digits(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size < 1e-4) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** Short enough for an axis: 1.2k, 35M. */
function brief(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [from, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= from * 0.9995) return `${Number((value / from).toPrecision(3))}${letter}`;
  }
  return size >= 1e-3 ? String(Number(value.toPrecision(2))) : value.toExponential(0);
}

function seconds(value) {
  if (value < 0.0995) return `${Number((value * 1000).toPrecision(3))} ms`;
  return value < 99.5 ? `${Number(value.toPrecision(3))} s` : `${Math.round(value).toLocaleString("en")} s`;
}

function usd(value) {
  if (value >= 100) return `$${Math.round(value).toLocaleString("en")}`;
  return `$${value >= 0.01 ? value.toFixed(2) : digits(value)}`;
}

/** A number as its place in the page wants it: cost with its sign, times in seconds. */
function figure(name, value) {
  if (name === "usd_per_month" || name === "hardware_usd" || name === "training_usd" || name === "usd_per_mtok") return usd(value);
  if (name.endsWith("_s") && !name.includes("per_s")) return seconds(value);
  if (name === "memory_gb") return `${digits(value)} GB`;
  if (name.endsWith("mtok_per_month")) return `${digits(value)} Mtok`;
  if (name === "tok_per_s") return `${digits(value)} tok/s`;
  return digits(value);
}

function gigabytes(bytes) {
  return bytes >= 1e9 ? `${Number((bytes / 1e9).toPrecision(3))} GB` : `${Number((bytes / 1e6).toPrecision(3))} MB`;
}

/** A number with its unit as it is explained; what is counted in bytes and operations with a letter for its thousands. */
function shownShort({ value, unit, shown }) {
  const [, of, per = ""] = /^(B|FLOP|1)(\/.*)?$/.exec(unit) ?? [];
  if (!of || (of === "1" && !per) || Math.abs(value) < 1e6 || shown.includes("(")) return shown;
  const [size, letter] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"]].find(([from]) => Math.abs(value) >= from);
  return `${Number((value / size).toPrecision(4))} ${letter}${of === "1" ? "" : of}${per}`;
}

const pathOf = (path, tables) => path.reduce((node, key) => node?.[key], tables);
