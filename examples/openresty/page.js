// The page: listens to rebuild/events, shows what it hears, and asks for start and stop. What the server says is text, never HTML.
"use strict";

const FAILURES_SHOWN = 200;
const by = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const one = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

// ---- figures as a reader likes them ----

function duration(seconds) {
  const s = Math.round(seconds);
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

function milliseconds(ms) {
  return ms < 1000 ? `${one.format(ms)} ms` : `${one.format(ms / 1000)} s`;
}

function clock(seconds) {
  const pad = (n) => String(n).padStart(2, "0");
  const s = Math.round(seconds), h = Math.floor(s / 3600);
  return (h ? `${h}:${pad(Math.floor((s % 3600) / 60))}` : Math.floor(s / 60)) + `:${pad(s % 60)}`;
}

function make(name, className, text) {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

// Sets a text with its words, which are units mostly, smaller than its numbers.
function show(id, text) {
  by(id).replaceChildren(...text.split(/ /).flatMap((word) => (/^[\d–]/.test(word) ? [word, " "] : [make("small", "", word), " "])));
}

// ---- charts ----

const SVG = "http://www.w3.org/2000/svg";

function draw(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// A step of 1, 2 or 5 times a power of ten (of time: what a clock has) that makes at most `most` of them.
function step(range, most, ofTime) {
  const rough = range / most;
  if (ofTime) return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200].find((s) => s >= rough) || 86400;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((s) => s * power >= rough) * power;
}

// lines: [{ key, color, area }], drawn from points {at, …}; format: of values.
function chart(box, lines, format) {
  let points = [], hovered = null;

  function paint() {
    const width = box.clientWidth, height = box.clientHeight;
    box.replaceChildren();
    const values = points.flatMap((p) => lines.map((l) => p[l.key]).filter((v) => v !== undefined));
    if (!values.length || width < 50) {
      box.append(make("p", "empty", "Nothing measured yet"));
      return;
    }
    const dy = step(Math.max(...values, 1e-9), 4), top = Math.ceil(Math.max(...values, 1e-9) / dy) * dy;
    const from = Math.min(points[0].at, Math.max(0, points[0].at - 1)), to = Math.max(points[points.length - 1].at, from + 1);
    const labels = [];
    for (let v = 0; v <= top * 1.001; v += dy) labels.push([v, format(v)]);
    const left = Math.max(...labels.map((l) => l[1].length)) * 6.4 + 10, bottom = height - 20;
    const x = (at) => left + (at - from) / (to - from) * (width - left - 6);
    const y = (v) => bottom - v / top * (bottom - 8);

    const svg = draw(box, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    draw(svg, "title", {}, `From ${clock(from)} to ${clock(to)}; at most ${format(Math.max(...values))}`);
    for (const [v, label] of labels) {
      draw(svg, "line", { x1: left, x2: width - 6, y1: y(v), y2: y(v) });
      draw(svg, "text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, label);
    }
    const dx = step(to - from, Math.max(2, Math.floor((width - left) / 70)), true);
    for (let at = Math.ceil(from / dx) * dx; at <= to; at += dx) {
      const anchor = x(at) > width - 24 ? "end" : x(at) < left + 12 ? "start" : "middle";
      draw(svg, "text", { x: x(at), y: height - 3, "text-anchor": anchor }, clock(at));
    }
    for (const line of lines) {
      const known = points.filter((p) => p[line.key] !== undefined);
      if (!known.length) continue;
      const way = known.map((p) => `${x(p.at).toFixed(1)},${y(p[line.key]).toFixed(1)}`).join("L");
      if (line.area) {
        draw(svg, "path", { class: "area", d: `M${x(known[0].at)},${bottom}L${way}L${x(known[known.length - 1].at)},${bottom}Z` });
      }
      draw(svg, "path", { class: line.color, d: `M${way}` });
      if (known.length === 1) draw(svg, "circle", { class: line.color, cx: x(known[0].at), cy: y(known[0][line.key]), r: 3.5 });
    }
    if (hovered === null) return;
    const at = from + (hovered - left) / (width - left - 6) * (to - from);
    const near = points.reduce((a, b) => (Math.abs(b.at - at) < Math.abs(a.at - at) ? b : a));
    draw(svg, "line", { class: "cross", x1: x(near.at), x2: x(near.at), y1: 4, y2: bottom });
    const texts = [clock(near.at)];
    for (const line of lines) {
      if (near[line.key] === undefined) continue;
      draw(svg, "circle", { class: line.color, cx: x(near.at), cy: y(near[line.key]), r: 4 });
      texts.push(line.name + format(near[line.key]));
    }
    const tip = make("p", "tip", texts.join("  ·  "));
    box.append(tip);
    tip.style.left = `${Math.min(Math.max(0, x(near.at) - tip.offsetWidth / 2), width - tip.offsetWidth)}px`;
  }

  box.addEventListener("pointermove", (event) => { hovered = event.clientX - box.getBoundingClientRect().left; paint(); });
  box.addEventListener("pointerleave", () => { hovered = null; paint(); });
  new ResizeObserver(paint).observe(box);
  return (all) => { points = all; paint(); };
}

const plotRate = chart(by("rate-chart"), [{ key: "rate", color: "accent", name: "", area: true }], (v) => one.format(v));
const plotLatency = chart(by("latency-chart"), [
  { key: "p50", color: "accent", name: "median " },
  { key: "p95", color: "second", name: "95 % " },
], milliseconds);

let points = [];

function plot() {
  plotRate(points);
  plotLatency(points);
  const last = points[points.length - 1];
  show("rate", last ? `${one.format(last.rate)} /s` : "–");
  show("p95", last && last.p95 !== undefined ? milliseconds(last.p95) : "–");
}

// ---- where the rebuild stands ----

const ends = {
  done: ["Done", "good"], interrupted: ["Stopped", "warn"], stopped: ["Stopped", "warn"], worker_exit: ["Stopped", "warn"],
  killed: ["Killed", "bad"], down: ["Backend gone", "bad"], denied: ["Denied", "bad"], refused: ["Refused", "bad"],
  hook: ["Error in a hook", "bad"], max_failures: ["Too many failed", "bad"], record: ["Record not written", "bad"], error: ["Error", "bad"],
};
const states = {
  starting: ["Starting", "busy"], running: ["Running", "busy"], throttled: ["Held back", "warn"], paused: ["Backend gone, waiting", "warn"],
  down: ["Backend gone", "bad"],
};

let storages = 1;

function pill([text, kind]) {
  by("pill").textContent = text;
  by("pill").className = `pill ${kind}`;
  document.title = (by("percent").textContent && `${by("percent").textContent.trim()} · `) + `${text} · Vector index rebuild`;
}

function note(text, kind) {
  by("note").hidden = !text;
  by("note").textContent = text || "";
  by("note").className = `note ${kind}`;
}

// One line about the run for a reader.
function remark(s) {
  if (s.running) {
    if (s.stopping) return [`Stopping: ${number.format(s.active || 0)} requests in flight end first. “Stop now” leaves them for the next run.`, "warn"];
    if (s.state === "throttled" || s.state === "paused") return [s.reason + (s.resume_in ? `; goes on in ${duration(s.resume_in)}` : ""), "warn"];
    return ["", ""];
  }
  const parts = [];
  if (s.message) parts.push(s.message);
  if (s.pending) parts.push(`${number.format(s.pending)} images are left for the next run`);
  if (s.record) parts.push(`failures are on record in ${s.record}`);
  if (s.folders) parts.push(`${number.format(s.folders)} folders could not be read`);
  if (!parts.length && s.reason === "done") return ["", ""];
  const text = parts.join(" · ");
  return [text.charAt(0).toUpperCase() + text.slice(1), (ends[s.reason] || ends.error)[1]];
}

function stand(s) {
  const total = Math.max(s.total || 0, s.done || 0), share = total ? s.done / total : s.running ? 0 : 1;
  show("percent", `${Math.floor(share * 100)} %`);
  by("counts").textContent = `${number.format(s.done)} of ${number.format(s.total)}${s.total_known ? "" : "+"} images`
    + (storages > 1 ? ` in ${s.storage}` : "") + (s.options.dry_run ? ", counted only" : "");
  const bar = by("bar");
  bar.classList.toggle("counting", Boolean(s.running && !s.done));
  bar.setAttribute("aria-valuenow", Math.floor(share * 100));
  for (const part of ["succeeded", "skipped", "failed"]) {
    bar.querySelector(`.${part}`).style.width = `${total ? s[part] / total * 100 : 0}%`;
    by(part).textContent = number.format(s[part]);
  }
  by("rest").textContent = number.format(total - s.done);
  show("elapsed", duration(s.seconds));
  const recent = points.slice(-5), rate = recent.reduce((sum, p) => sum + p.rate, 0) / recent.length;
  by("left-name").textContent = s.running ? "Left, about" : "On average";
  if (s.running) show("left", s.total_known && rate > 0 && !s.stopping ? duration((s.total - s.done) / rate) : "–");
  else show("left", s.seconds > 0 ? `${one.format(s.done / s.seconds)} /s` : "–");
  show("active", s.running ? `${number.format(s.active)} of ${number.format(s.limit)}` : "–");
  show("retries", number.format(s.retries || 0));
  note(...remark(s));
  pill(s.running ? (s.stopping ? ["Stopping", "warn"] : states[s.state] || states.running) : ends[s.reason] || ["Ended", "warn"]);
  by("stop").hidden = !s.running;
  by("stop").textContent = s.stopping ? "Stop now" : "Stop";
  by("start").disabled = s.running;
  by("start").textContent = s.running ? "Running" : "Start";
}

// ---- failures ----

function failed(f) {
  const row = document.createElement("tr");
  const cell = (text, small) => {
    const td = document.createElement("td");
    td.textContent = text;
    if (small) td.append(" ", make("small", "", small));
    row.append(td);
  };
  cell(new Date(f.at * 1000).toLocaleTimeString([], { hour12: false }));
  cell(f.image);
  cell(f.kind.replaceAll("_", " "), f.status ? String(f.status) : "");
  cell(f.message || "", f.attempts > 1 ? `after ${f.attempts} attempts` : "");
  const body = by("failures");
  body.prepend(row);
  while (body.rows.length > FAILURES_SHOWN) body.deleteRow(-1);
  countFailures(f.n);
}

function countFailures(n) {
  by("failure-count").textContent = number.format(n);
  by("failure-count").classList.toggle("bad", n > 0);
  by("no-failures").hidden = n > 0;
  document.querySelector(".scroll").hidden = n === 0;
}

// ---- what the server tells ----

function offer(setup) {
  storages = setup.storages.length;
  for (const label of document.querySelectorAll("[data-names]")) {
    const names = setup[label.dataset.names], select = label.querySelector("select"), chosen = select.value;
    label.hidden = names.length < 2;
    select.replaceChildren(...names.map((name) => make("option", "", name)));
    if (names.includes(chosen)) select.value = chosen;
  }
}

const source = new EventSource("rebuild/events");
const heard = {
  setup: (data) => { offer(data); pill(["Idle", ""]); },
  history: (data) => { points = data; plot(); },
  point: (data) => { points.push(data); plot(); },
  failures: () => { by("failures").replaceChildren(); countFailures(0); },
  failure: failed,
  state: stand,
};
for (const name in heard) source.addEventListener(name, (event) => heard[name](JSON.parse(event.data)));
source.addEventListener("error", () => pill(["Connecting…", "warn"]));

// ---- what is asked of it ----

async function ask(method, body) {
  const error = by("error");
  error.hidden = true;
  try {
    const answer = await fetch("rebuild", { method, headers: body && { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
    if (answer.ok) return;
    const text = await answer.text();
    let why = text;
    try { why = JSON.parse(text).error || text; } catch { /* not ours, so as it is */ }
    error.textContent = why.trim() || `status ${answer.status}`;
  } catch {
    error.textContent = "The server cannot be reached.";
  }
  error.hidden = false;
}

by("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const options = {};
  for (const field of by("form").elements) {
    if (!field.name) continue;
    const value = field.type === "checkbox" ? field.checked : field.value.trim();
    if (value) options[field.name] = value;
  }
  ask("POST", options);
});

by("stop").addEventListener("click", () => ask("DELETE"));
