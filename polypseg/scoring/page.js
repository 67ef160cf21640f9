// What report.html and volumes.html share. Each of them defines NOUN, COLUMNS, SIZE, charts and all.
"use strict";
const sources = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const state = { source: 0, sort: "dice", up: true, all: false, filter: "" };

function node(tag, attributes = {}, text) {
  const svg = ["svg", "g", "path", "line", "circle", "rect", "text"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
const show = (value, digits = 3) => value === null || value === undefined ? "–" : value.toFixed(digits);
const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
function median(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// An empty chart with axes. x and y map numbers to pixels.
function chart(holder, height, xRange, yRange, xTicks, yTicks, xTitle, xWords = String, yWords = String, log = false) {
  const width = holder.clientWidth, left = 34, right = 10, top = 8, bottom = 40;
  const scale = value => log ? Math.log10(value) : value;
  const x = value => left + (scale(value) - scale(xRange[0])) / (scale(xRange[1]) - scale(xRange[0])) * (width - left - right);
  const y = value => height - bottom - (value - yRange[0]) / (yRange[1] - yRange[0]) * (height - top - bottom);
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  for (const tick of yTicks) {
    svg.append(node("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: tick === yRange[0] ? "axis" : "grid" }));
    svg.append(node("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, yWords(tick)));
  }
  for (const tick of xTicks) svg.append(node("text", { x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, xWords(tick)));
  svg.append(node("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, xTitle));
  const tip = node("div", { class: "tip", hidden: "" });
  holder.replaceChildren(svg, tip);
  const tell = (words, atX, atY) => {
    tip.hidden = !words;
    if (!words) return;
    tip.textContent = words;
    tip.style.left = Math.max(0, Math.min(width - tip.offsetWidth, atX + 12)) + "px";
    tip.style.top = Math.max(0, atY - tip.offsetHeight - 6) + "px";
  };
  return { svg, x, y, left, right, width, height, bottom, top, tell };
}
const FIFTHS = [0, .2, .4, .6, .8, 1];

function drawSpread(source) {
  const dices = source.images.map(image => image.dice).filter(dice => dice !== null);
  byId("spread").replaceChildren();
  if (!dices.length) { byId("spread-words").textContent = `No ${NOUN} has a Dice score.`; return; }
  const bins = Array(20).fill(0);
  dices.forEach(dice => bins[Math.min(19, Math.floor(dice * 20))]++);
  byId("spread-words").textContent = `Mean ${show(mean(dices))}, median ${show(median(dices))}. ${dices.filter(dice => dice < .5).length} of ${dices.length} ${NOUN}s are below 0.5.`;
  const most = Math.max(...bins), raw = most / 4, power = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
  const step = Math.max(1, [1, 2, 5, 10].map(factor => factor * power).find(value => value >= raw));
  const ticks = []; for (let tick = 0; tick < most + step; tick += step) ticks.push(tick);
  const c = chart(byId("spread"), 260, [0, 1], [0, ticks.at(-1)], FIFTHS, ticks, "Dice");
  c.svg.setAttribute("aria-label", `Histogram of the Dice of the ${NOUN}s`);
  bins.forEach((count, index) => {
    const from = c.x(index / 20), to = c.x((index + 1) / 20);
    const bar = node("rect", { x: from + 1, width: to - from - 2, y: c.y(count), height: c.y(0) - c.y(count), rx: 2, fill: "var(--dice)", opacity: .85 });
    const area = node("rect", { x: from, width: to - from, y: c.top, height: c.y(0) - c.top, fill: "transparent" });
    area.addEventListener("pointerenter", () => c.tell(`Dice ${show(index / 20, 2)} to ${show((index + 1) / 20, 2)}: ${count}`, (from + to) / 2, c.y(count)));
    area.addEventListener("pointerleave", () => c.tell(""));
    c.svg.append(bar, area);
  });
  const at = c.x(mean(dices));
  c.svg.append(node("line", { x1: at, x2: at, y1: c.top, y2: c.y(0), stroke: "var(--mark)", "stroke-dasharray": "4 4", "pointer-events": "none" }));
  const low = mean(dices) < .15;  // no room on the left
  c.svg.append(node("text", { x: at + (low ? 6 : -6), y: c.top + 10, "text-anchor": low ? "start" : "end", style: "fill:var(--mark);paint-order:stroke;stroke:var(--card);stroke-width:4px" }, "mean"));
}

function drawSize(source) {
  const points = source.images.filter(image => image.dice !== null && image.size > 0).sort((a, b) => a.size - b.size);
  byId("size").replaceChildren();
  if (!points.length) { byId("size-words").textContent = `No ${NOUN} with foreground has a Dice score.`; return; }
  byId("size-words").textContent = SIZE.words + (points.length >= 9 ? ` Lines: mean Dice of the ${NOUN}s with small, middle and large foreground.` : "");
  const low = Math.min(points[0].size, SIZE.most / 1.02) / 1.15, high = Math.min(SIZE.most, points.at(-1).size * 1.15);
  const every = [.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].filter(tick => tick >= low && tick <= high);
  const narrow = byId("size").clientWidth < 420;
  let ticks = every.length > (narrow ? 6 : 9) ? every.filter(tick => /^0*\.?0*1/.test(String(tick))) : every;
  if (ticks.length < 2) ticks = [...new Set([points[0].size, points.at(-1).size].map(size => +size.toPrecision(2)))];
  const c = chart(byId("size"), 260, [low, high], [0, 1], ticks, FIFTHS, SIZE.axis, String, String, true);
  c.svg.setAttribute("aria-label", "Dice against size of the foreground");
  for (const point of points) {
    const dot = node("circle", { cx: c.x(point.size), cy: c.y(point.dice), r: points.length > 400 ? 3 : 4.5, fill: "var(--dice)", opacity: points.length > 400 ? .4 : .55, style: "cursor:pointer" });
    dot.addEventListener("pointerenter", () => c.tell(`${point.stem}\nDice ${show(point.dice)}, ${show(point.size, 1)} ${SIZE.unit}`, c.x(point.size), c.y(point.dice)));
    dot.addEventListener("pointerleave", () => c.tell(""));
    dot.addEventListener("click", () => { byId("filter").value = state.filter = point.stem; drawTable(source); byId("images").scrollIntoView({ behavior: "smooth", block: "center" }); });
    c.svg.append(dot);
  }
  if (points.length >= 9) for (let third = 0; third < 3; third++) {
    const part = points.slice(Math.round(third * points.length / 3), Math.round((third + 1) * points.length / 3));
    const value = mean(part.map(point => point.dice)), from = c.x(part[0].size), to = c.x(part.at(-1).size);
    c.svg.append(node("line", { x1: from, x2: to, y1: c.y(value), y2: c.y(value), stroke: "var(--mark)", "stroke-width": 2.5, "stroke-linecap": "round", "pointer-events": "none" }));
    const label = node("text", { x: (from + to) / 2, y: c.y(value) + 18, "text-anchor": "middle", style: "fill:var(--mark);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px", "pointer-events": "none" }, show(value, 2));
    c.svg.append(label);
  }
}

const FIRST = 25;
function drawTable(source) {
  const row = node("tr");
  for (const [key, name] of COLUMNS) {
    const head = node("th", { scope: "col", class: key === "stem" ? "name" : "" }), button = node("button", {}, name);
    if (key === state.sort) head.setAttribute("aria-sort", state.up ? "ascending" : "descending");
    button.addEventListener("click", () => { state.up = key === state.sort ? !state.up : key === "stem" || key === "dice"; state.sort = key; drawTable(source); });
    head.append(button); row.append(head);
  }
  const wanted = state.filter.toLowerCase();
  const chosen = source.images.filter(image => image.stem.toLowerCase().includes(wanted)).sort((a, b) => {
    const [p, q] = [a[state.sort], b[state.sort]];
    if (p === null || q === null) return (p === null) - (q === null);
    return (state.up ? 1 : -1) * (typeof p === "string" ? p.localeCompare(q, undefined, { numeric: true }) : p - q);
  });
  const shown = state.all ? chosen : chosen.slice(0, FIRST);
  byId("images").tHead.replaceChildren(row);
  byId("images").tBodies[0].replaceChildren(...shown.map(image => {
    const line = node("tr");
    for (const [key, , digits, factor = 1] of COLUMNS) {
      const value = image[key];
      const cell = node("td", {}, key === "stem" ? value : show(value === null || value === undefined ? value : factor * value, digits));
      if (key === "stem") { cell.className = "name"; cell.title = image.stem; }
      if (key === "dice" && image.dice !== null) { cell.className = "meter"; cell.style.setProperty("--share", 100 * image.dice + "%"); }
      line.append(cell);
    }
    return line;
  }));
  byId("more").hidden = shown.length === chosen.length;
  byId("more").firstChild.textContent = `Show all ${chosen.length}`;
}

function drawConfig(source) {
  byId("config").replaceChildren(...source.config.filter(([, entries]) => entries.length).map(([title, entries]) => {
    const section = node("section"), list = node("dl");
    for (const [key, value] of entries) list.append(node("dt", {}, key), node("dd", {}, value));
    section.append(node("h3", {}, title), list);
    return section;
  }));
}

byId("chooser").hidden = sources.length < 2;
sources.forEach((source, index) => byId("source").append(node("option", { value: index }, `${source.model} on ${source.data}`)));
byId("source").addEventListener("change", event => { state.source = +event.target.value; state.all = false; all(); });
byId("filter").addEventListener("input", event => { state.filter = event.target.value; drawTable(sources[state.source]); });
byId("more").firstChild.addEventListener("click", () => { state.all = true; drawTable(sources[state.source]); });
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; charts(); } });
