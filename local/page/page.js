"use strict";
// Draws the page from the values in it; every text is set as text, never as markup. Charts are drawn when opened.
const OUTCOMES = {
  succeeded: ["circle", "good", "●"], failed: ["cross", "late", "✚"], skipped: ["diamond", "stale", "◆"],
  cancelled: ["square", "held", "■"], lost: ["triangle-down", "unknown", "▼"], proven: ["stroke", "good", "▬"],
  spared: ["triangle-left", "unknown", "◀"], running: ["triangle-right", "age", "▶"],
};
const TELLERS = {
  event: ["circle", "○"], look: ["diamond", "◇"], schedule: ["triangle-up", "△"], person: ["square", "□"],
  "other target": ["triangle-right", "▷"], configuration: ["cross", "✢"],
};
const VERDICTS = { late: "✖", held: "‖", unknown: "?", stale: "◔", proven: "✔✔", fresh: "✔" };
const specs = JSON.parse(document.getElementById("specs").textContent);
let data = JSON.parse(document.getElementById("data").textContent);
// Where all that is known is of the last hours, as after the demo, a window of just that comes first.
const known = data.since === null ? Infinity : data.now - data.since;
const windows = data.windows.map((seconds, figures) => ({ seconds, figures, says: seconds === 86400 ? "24 hours" : `${seconds / 86400} days` }));
if (known < 21600) windows.unshift({ seconds: Math.max(60, known * 1.05), figures: 0, says: "all that is known" });
let shown = windows[0];
const open = new Set();

const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const iso = (seconds) => (seconds === null ? "–" : new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") + "Z");

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} d`;
}

function made(name, text, attributes = {}) {
  const element = document.createElement(name);
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function verdict(word) {
  return made("span", `${VERDICTS[word] || "?"} ${word}`, { class: `verdict ${word}` });
}

// --- At a glance

function drawGlance() {
  byId("as-of").textContent = `As of ${iso(data.now)}${data.doubts.length ? ". " + data.doubts.join(" ") : ""}`;
  const counts = {};
  for (const target of data.targets) counts[target.verdict] = (counts[target.verdict] || 0) + 1;
  byId("counts").replaceChildren(...Object.keys(VERDICTS).filter((word) => counts[word]).map((word) => {
    const item = made("li");
    item.append(`${counts[word]} `, verdict(word));
    return item;
  }));
  // Roles are named, since a narrow screen lays these rows out as cards, which would take them away.
  const head = made("thead", null, { role: "rowgroup" }), body = made("tbody", null, { role: "rowgroup" }), row = made("tr", null, { role: "row" });
  const titles = ["target", "verdict", "why", "stale since", "fresh as of", "within objective"];
  for (const title of titles) row.append(made("th", title, { scope: "col", role: "columnheader" }));
  head.append(row);
  for (const target of data.targets) {
    const line = made("tr", null, { role: "row" });
    const texts = [target.name, "", target.why, iso(target.stale_since), iso(target.fresh_as_of), percent(target.figures[shown.figures].within)];
    texts.forEach((text, number) => {
      const cell = number ? made("td", text, { role: "cell" }) : made("th", text, { scope: "row", role: "rowheader" });
      cell.dataset.title = titles[number];
      if (number === 1) cell.append(verdict(target.verdict));
      if (number > 2) cell.className = "time";
      line.append(cell);
    });
    body.append(line);
  }
  byId("glance").setAttribute("role", "table");
  byId("glance").replaceChildren(head, body);
}

const percent = (share) => (share === null ? "–" : `${(share * 100).toFixed(2)} %`);

function drawWindows() {
  const box = byId("windows");
  windows.forEach((each, number) => {
    const label = made("label"), radio = made("input", null, { type: "radio", name: "window", value: number });
    radio.checked = each === shown;
    radio.addEventListener("change", () => { shown = each; drawGlance(); redraw(); });
    label.append(radio, " ", each.says);
    box.append(label);
  });
}

function drawLegend() {
  const outcomes = made("ul"), tellers = made("ul");
  for (const [word, [, hue, sign]] of Object.entries(OUTCOMES)) {
    const item = made("li"), symbol = made("span", sign, { "aria-hidden": "true" });
    symbol.style.color = `var(--${hue})`;
    item.append(symbol, ` ${word}`);
    outcomes.append(item);
  }
  for (const [word, [, sign]] of Object.entries(TELLERS)) {
    const item = made("li");
    item.append(made("span", sign, { "aria-hidden": "true" }), ` ${word}`);
    tellers.append(item);
  }
  byId("legend").replaceChildren(made("p", "Above: how far behind its sources the view was, shaded while a source was ahead; the dashed line is the objective. Below: what told of data, and runs by outcome, with an outline where full."), outcomes, tellers);
}

// --- One target

function drawTargets() {
  const few = data.targets.length <= 4;
  byId("targets").replaceChildren(...data.targets.map((target) => {
    const box = made("details"), head = made("summary");
    head.append(made("h3", target.name), verdict(target.verdict), ` ${target.why}`);
    box.append(head, made("div", null, { class: "body" }));
    box.addEventListener("toggle", () => { box.open ? open.add(target.name) : open.delete(target.name); drawTarget(box, target); });
    box.open = open.has(target.name) || few;
    return box;
  }));
}

function redraw() {
  document.querySelectorAll("#targets > details").forEach((box, number) => drawTarget(box, data.targets[number]));
}

function drawTarget(box, target) {
  const body = box.querySelector(".body");
  body.replaceChildren();
  if (!box.open) return;
  const figure = made("figure", null, { tabindex: "0", role: "group", "aria-label": `Timeline of ${target.name}: left and right arrow keys read one run or arrival after the other` });
  const age = made("div", null, { class: "chart", "aria-hidden": "true" }), runs = made("div", null, { class: "chart", "aria-hidden": "true" });
  const says = made("output", "", { "aria-live": "polite" });
  figure.append(age, runs, says);
  body.append(figuresOf(target), sourcesOf(target), figure);
  const from = data.now - shown.seconds, values = valuesOf(target, from);
  drawChart(age, specs.age, { teeth: values.teeth, age: values.age, objective: values.objective }, from);
  drawChart(runs, specs.runs, { runs: values.runs, marks: values.marks }, from);
  readByKeys(figure, says, values);
  body.append(tableButton(target, from));
}

function figuresOf(target) {
  const figures = target.figures[shown.figures], list = made("dl");
  const add = (name, value) => { const item = made("div"); item.append(made("dt", name), made("dd", value)); list.append(item); };
  add("within the objective", target.objective === null ? "no objective" : percent(figures.within));
  add("error budget left", percent(figures.budget));
  add("refreshes", `${figures.refreshes}${figures.failed ? `, ${figures.failed} failed` : ""}`);
  add("refreshes spared", `${figures.spared}`);
  add("median lag", span(figures.median_lag));
  add("worst lag", span(figures.worst_lag));
  add(figures.dpu_hours === null ? "time of runs" : "DPU-hours", figures.dpu_hours === null ? span(figures.run_seconds) : figures.dpu_hours.toFixed(2));
  return list;
}

function sourcesOf(target) {
  if (!target.sources.length) return made("p", "");
  return made("p", "Sources: " + target.sources.map(([title, version, since, silent]) => `${title}${version ? ` at version ${version}` : ""}${since === null ? "" : ` since ${iso(since)}`}${silent ? ` (${silent})` : ""}`).join("; "));
}

function valuesOf(target, from) {
  const age = [], teeth = [];
  let order = 0;
  const point = (at, since) => age.push({ at: at * 1000, minutes: (at - since) / 60, behind: span(at - since), order: order++ });
  point(from, from);
  for (const [since, begins, ends] of target.teeth) {
    if (ends < from) continue;
    teeth.push({ begins: Math.max(begins, from) * 1000, ends: ends * 1000, since, until: ends });
    point(begins, begins); point(begins, since); point(ends, since); point(ends, ends);
  }
  point(data.now, data.now);
  const runs = target.runs.filter((run) => run[1] >= from).map(runOf);
  const why_of = new Map(target.runs.map((run) => [run[6], run[7]]));
  const marks = target.marks.filter(([at]) => at >= from).map(([at, told_by, reason = why_of.get(at)]) => ({ at: at * 1000, told_by, lane: "arrivals", says: `${iso(at)}: ${told_by}${reason ? `, ${reason}` : ""}` }));
  const objective = target.objective === null ? [] : [{ minutes: target.objective / 60, says: span(target.objective) }];
  return { age, teeth, runs, marks, objective };
}

function runOf([begins, ends, outcome, foreign, full, signals, oldest, why, run_id, error, versions]) {
  const lasted = outcome === "running" ? `goes on since ${span(ends - begins)}` : `${span(ends - begins)} long`;
  const says = `${iso(begins)}: ${outcome}${full ? ", full" : ""}${foreign ? ", somebody else's" : ""}, ${lasted}, ${signals} signals or more${why ? ` (${why})` : ""}${versions ? `, read ${versions}` : ""}${error ? `: ${error}` : ""}`;
  return { begins: begins * 1000, ends: ends * 1000, outcome, full: !!full, lane: foreign ? "others'" : "ours", says, signals, oldest, why, run_id, error };
}

function drawChart(element, spec, datasets, from) {
  const made_of = JSON.parse(JSON.stringify(spec), (key, value) => {
    if (value === "outcomes") return Object.keys(OUTCOMES);
    if (value === "colours") return Object.values(OUTCOMES).map(([, hue]) => colour(hue));
    if (value === "shapes") return Object.values(OUTCOMES).map(([shape]) => shape);
    if (value === "tellers") return Object.keys(TELLERS);
    if (value === "teller_shapes") return Object.values(TELLERS).map(([shape]) => shape);
    return ["color", "value"].includes(key) && typeof value === "string" ? colour(value) || value : value;
  });
  made_of.datasets = datasets;
  const moments = made_of.layer.find(({ encoding }) => encoding.x && !encoding.x2); // a range would set it twice
  moments.encoding.x.scale = { type: "utc", nice: false, domain: [from * 1000, data.now * 1000] };
  const format = data.now - from > 172800 ? "%b %d" : data.now - from > 7200 ? "%H:%M" : "%H:%M:%S";
  moments.encoding.x.axis = { title: null, labelOverlap: "greedy", format, tickCount: Math.max(2, Math.floor(element.clientWidth / 110)) };
  made_of.config = {
    background: null, font: "system-ui, DejaVu Sans, sans-serif", view: { stroke: colour("line") },
    axis: { labelColor: colour("text"), titleColor: colour("soft"), gridColor: colour("line"), domainColor: colour("line"), tickColor: colour("line"), titleFontWeight: "normal" },
  };
  vegaEmbed(element, made_of, { actions: false, renderer: "svg", tooltip: { theme: "custom" } });
}

function readByKeys(figure, says, values) {
  const all = [...values.runs.map((run) => ({ at: run.ends, says: run.says })), ...values.marks].sort((a, b) => a.at - b.at);
  const behind = (at) => { const tooth = values.teeth.find((each) => each.begins <= at && at <= each.ends); return tooth ? ` ${span(at / 1000 - tooth.since)} behind.` : ""; };
  let number = all.length;
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !all.length) return;
    event.preventDefault();
    number = Math.min(Math.max(number + step, 0), all.length - 1);
    says.textContent = `${number + 1} of ${all.length}. ${all[number].says}.${behind(all[number].at)}`;
  });
}

function tableButton(target, from) {
  const box = made("div"), button = made("button", `Show the runs of ${target.name} as a table`, { type: "button", "aria-expanded": "false" });
  const place = made("div");
  button.addEventListener("click", () => {
    const shows = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(shows));
    place.replaceChildren(...(shows ? [runTable(target, from)] : []));
  });
  box.append(button, place);
  return box;
}

function runTable(target, from) {
  const region = made("div", null, { class: "wide", role: "region", tabindex: "0", "aria-label": `Runs of ${target.name}` });
  const table = made("table"), head = made("thead"), titles = made("tr"), body = made("tbody");
  for (const title of ["claimed", "ended", "outcome", "whose", "full", "signals", "oldest arrival", "why", "read", "run", "error"]) titles.append(made("th", title, { scope: "col" }));
  head.append(titles);
  for (const [begins, ends, outcome, foreign, full, signals, oldest, why, run_id, error, versions] of target.runs.filter((run) => run[1] >= from).reverse()) {
    const row = made("tr");
    for (const text of [iso(begins), outcome === "running" ? "–" : iso(ends), outcome, foreign ? "somebody else's" : "ours", full ? "full" : "", signals, iso(oldest), why, versions, run_id, error]) row.append(made("td", text));
    body.append(row);
  }
  table.append(head, body);
  region.append(table);
  return region;
}

// --- The page as a whole

function draw() { drawGlance(); drawTargets(); }

async function renew() {
  try {
    const answer = await fetch("data.json", { cache: "no-store" });
    if (answer.ok) { data = await answer.json(); draw(); }
  } catch { byId("as-of").textContent = `As of ${iso(data.now)}; unstale page does not answer any more`; }
}

drawWindows();
drawLegend();
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
if (data.renew_seconds) setInterval(renew, data.renew_seconds * 1000);
