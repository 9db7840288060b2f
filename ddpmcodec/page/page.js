"use strict";
// Streams as `ddpmcodec view` found them: [{name, width, height, model, planned, shared, original, steps: [{n, size, bpp, psnr,
// exact, src}]}]. src and original are data URLs; psnr is null without an original, and where it is infinite.
const streams = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const now = by("canvas"), reference = by("reference"), slider = by("step");
let stream = streams[0], at = 0, view = "one", timer = null, saying = null, painting = 0;

const grouped = (number) => number.toLocaleString("en");
const decibels = (step) => step.exact ? "exact" : step.psnr === null ? (stream.original ? "equal" : "–") : step.psnr.toFixed(2) + " dB";

function inWords(step) {
  const size = `Step ${step.n}: ${grouped(step.size)} bytes, ${step.bpp.toFixed(3)} bits a pixel`;
  return stream.original || step.exact ? `${size}, ${decibels(step)}` : size;
}

// ---- Pictures -----------------------------------------------------------------------------------------------------

const loaded = new Map();  // of the stream that is shown: data URL to its image, decoded

function picture(source) {
  if (!loaded.has(source)) {
    const image = new Image();
    image.src = source;
    loaded.set(source, image.decode().then(() => image));
  }
  return loaded.get(source);
}

function draw(canvas, image) {
  canvas.width = stream.width;
  canvas.height = stream.height;
  canvas.getContext("2d", {willReadFrequently: true}).drawImage(image, 0, 0);
  // Small pictures are shown larger, by a whole number, so that each of their pixels is a square.
  const scale = Math.max(1, Math.floor(384 / Math.max(stream.width, stream.height)));
  canvas.style.width = `${stream.width * scale}px`;
  canvas.classList.toggle("small", scale > 1);
}

function drawDifference(canvas, image, other, gain) {
  draw(canvas, other);
  const context = canvas.getContext("2d", {willReadFrequently: true}), {width, height} = canvas;
  const from = context.getImageData(0, 0, width, height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height);
  for (let i = 0; i < pixels.data.length; i++) {
    if (i % 4 < 3) pixels.data[i] = Math.abs(pixels.data[i] - from.data[i]) * gain;  // clamped to 255 by its type
  }
  context.putImageData(pixels, 0, 0);
}

async function paint() {
  const mine = ++painting, step = stream.steps[at], last = stream.steps[stream.steps.length - 1];
  const [image, other] = await Promise.all([picture(step.src), picture(stream.original || last.src)]);
  if (mine !== painting) return;  // the reader has gone on
  const against = stream.original ? "the original" : `step ${last.n}, the last`;
  const gain = Number(by("gain").value);
  if (view === "difference") drawDifference(now, image, other, gain); else draw(now, image);
  if (view === "beside") draw(reference, other);
  by("beside").hidden = view !== "beside";
  by("stage").classList.toggle("two", view === "beside");
  by("gain-label").hidden = view !== "difference";
  const what = view === "difference" ? `Difference from ${against}, × ${gain}, after step ${step.n}` : `After step ${step.n}`;
  by("now").lastElementChild.textContent = what;
  by("beside").lastElementChild.textContent = against.charAt(0).toUpperCase() + against.slice(1);
  now.setAttribute("aria-label", `${stream.name}. ${what}, ${grouped(step.size)} bytes`);
  reference.setAttribute("aria-label", `${stream.name}. ${against}`);
  document.body.dataset.painted = `${streams.indexOf(stream)} ${step.n} ${view} ${gain}`;
}

// ---- The curve ----------------------------------------------------------------------------------------------------

const box = {left: 72, right: 618, top: 14, bottom: 206};

function ticks(from, to) {
  const rough = (to - from) / 6 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].map((m) => m * power).find((u) => u >= rough);
  const found = [];
  for (let i = Math.ceil(from / unit); i * unit <= to + unit / 1e6; i++) found.push(i * unit);
  return found;
}

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  by("curve").append(made);
  return made;
}

// With an original: PSNR over bits a pixel, steps without a finite one left out. Without: bytes over steps.
function points() {
  const rated = stream.original !== null;
  return stream.steps.map((step, i) => ({i, x: rated ? step.bpp : step.n, y: rated ? step.psnr : step.size}))
    .filter((point) => point.y !== null);
}

function scales(all) {
  const xs = all.map((p) => p.x), ys = all.map((p) => p.y);
  const left = 0, right = Math.max(...xs), low = stream.original ? Math.floor(Math.min(...ys)) : 0, high = Math.max(...ys);
  return {
    left, right, low, high,
    x: (value) => box.left + (value - left) / (right - left || 1) * (box.right - box.left),
    y: (value) => box.bottom - (value - low) / (high - low || 1) * (box.bottom - box.top),
  };
}

function plot() {
  by("curve").replaceChildren();
  const all = points(), rated = stream.original !== null;
  by("graph").hidden = all.length < 2;
  if (all.length < 2) return;
  const scale = scales(all), place = (p) => `${scale.x(p.x).toFixed(1)},${scale.y(p.y).toFixed(1)}`;
  for (const value of ticks(scale.low, scale.high)) {
    const y = scale.y(value);
    shape("line", {class: "grid", x1: box.left, x2: box.right, y1: y, y2: y});
    shape("text", {x: box.left - 8, y: y + 5, "text-anchor": "end"}, grouped(value));
  }
  for (const value of ticks(scale.left, scale.right)) {
    shape("text", {x: scale.x(value), y: box.bottom + 26, "text-anchor": "middle"}, grouped(value));
  }
  shape("polyline", {class: "all", points: all.map(place).join(" ")});
  const grown = all.filter((p) => p.i <= at), here = grown[grown.length - 1];
  shape("polyline", {class: "grown", points: grown.map(place).join(" ")});
  if (here) shape("circle", {class: "here", cx: scale.x(here.x), cy: scale.y(here.y), r: 6});
  const exact = stream.steps.find((step) => step.exact);
  const first = all[0], last = all[all.length - 1], unit = rated ? "dB" : "bytes";
  const ends = [first, last].map((p) => grouped(rated ? Number(p.y.toFixed(1)) : p.y));
  by("curve").setAttribute("aria-label", `Curve from step ${stream.steps[first.i].n} to ${stream.steps[last.i].n}: ` +
    `${ends[0]} to ${ends[1]} ${unit}. ${inWords(stream.steps[at])}. All numbers are in the table below.`);
  by("graph").lastElementChild.textContent = (rated ? "PSNR in dB over bits a pixel" : "Bytes after each step") +
    (rated && exact ? `; exact at ${exact.bpp.toFixed(3)}` : "");
}

function toCurve(event) {
  const all = points(), scale = scales(all), seen = by("curve").getBoundingClientRect();
  const x = (event.clientX - seen.left) / seen.width * 640;
  const nearest = all.reduce((a, b) => Math.abs(scale.x(b.x) - x) < Math.abs(scale.x(a.x) - x) ? b : a);
  go(nearest.i);
}

// ---- What is shown ------------------------------------------------------------------------------------------------

function go(to) {
  at = Math.min(Math.max(to, 0), stream.steps.length - 1);
  const step = stream.steps[at];
  slider.value = at;
  slider.setAttribute("aria-valuetext", inWords(step));
  by("n").textContent = `${step.n} of ${stream.steps[stream.steps.length - 1].n}`;
  by("bytes").textContent = grouped(step.size);
  by("bpp").textContent = step.bpp.toFixed(3);
  by("psnr").textContent = decibels(step);
  by("psnr-figure").hidden = stream.original === null && !stream.steps.some((s) => s.exact);
  plot();
  say();
  return paint();
}

// A slider that has the focus says itself what it shows; whatever else moves it is said here, once it has come to rest.
function say() {
  clearTimeout(saying);
  if (document.activeElement === slider) return;
  saying = setTimeout(() => { by("said").textContent = inWords(stream.steps[at]); }, 500);
}

function show(index) {
  const part = stream.steps.length > 1 ? at / (stream.steps.length - 1) : 1;
  loaded.clear();
  stream = streams[index];
  slider.max = stream.steps.length - 1;
  const most = stream.steps[stream.steps.length - 1].n;
  const which = streams.length > 1 ? `Picture ${index + 1} of ${streams.length}, ${stream.name}: ` : "";
  by("about").textContent = `${which}${stream.width} × ${stream.height} pixels, ` +
    `${most} steps, model ${stream.model}` + (stream.shared > 1 ? `, coded together with ${stream.shared - 1} others` : "");
  for (const [i, button] of [...by("gallery").children].entries()) {
    if (i === index) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
  }
  bringIntoView(index);
  fillTable();
  return go(Math.round(part * (stream.steps.length - 1)));
}

// Only the row of pictures moves, not the page.
function bringIntoView(index) {
  const row = by("gallery"), button = row.children[index];
  if (!button) return;
  const before = button.offsetLeft - row.offsetLeft - row.scrollLeft;
  const after = before + button.offsetWidth - row.clientWidth;
  if (before < 0) row.scrollLeft += before - 8; else if (after > 0) row.scrollLeft += after + 8;
}

function fillTable() {
  const rated = stream.original !== null || stream.steps.some((s) => s.exact);
  const row = (cells, kind) => {
    const made = document.createElement("tr");
    cells.forEach((text, i) => {
      const cell = document.createElement(kind === "th" || i === 0 ? "th" : "td");
      cell.scope = kind === "th" ? "col" : "row";
      if (cell.tagName === "TD") cell.removeAttribute("scope");
      cell.textContent = text;
      made.append(cell);
    });
    return made;
  };
  const cut = (cells) => rated ? cells : cells.slice(0, 3);
  const head = row(cut(["Step", "Bytes", "Bits a pixel", "PSNR"]), "th");
  by("table").replaceChildren(head, ...stream.steps.map((s) => row(cut([s.n, grouped(s.size), s.bpp.toFixed(3), decibels(s)]))));
}

function setView(name) {
  view = name;
  for (const input of document.getElementsByName("view")) input.checked = input.value === name;
  return paint();
}

function play(on) {
  clearInterval(timer);
  timer = null;
  by("play").textContent = on ? "Pause" : "Play";
  by("play").setAttribute("aria-pressed", String(on));
  if (!on) return;
  if (at === stream.steps.length - 1) go(0);
  timer = setInterval(() => {
    go(at + 1);
    if (at === stream.steps.length - 1) play(false);
  }, 300);
}

// ---- Hands --------------------------------------------------------------------------------------------------------

const moves = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1};

function onKey(event) {
  const target = event.target, stage = target === by("stage");
  if (event.altKey || event.ctrlKey || event.metaKey || !(stage || target === document.body)) return;
  const others = {PageUp: -1, PageDown: 1}[event.key], views = {1: "one", 2: "beside", 3: "difference"}[event.key];
  if (event.key in moves && (stage || event.key === "ArrowLeft" || event.key === "ArrowRight")) go(at + moves[event.key]);
  else if (event.key === "Home") go(0);
  else if (event.key === "End") go(stream.steps.length - 1);
  else if (event.key === " ") play(timer === null);
  else if (stage && views) setView(views);
  else if (stage && others && streams.length > 1) show((streams.indexOf(stream) + others + streams.length) % streams.length);
  else return;
  event.preventDefault();
}

let held = null;  // where a finger or the mouse went down on the picture, and the step then

function onHold(event) { if (event.isPrimary && event.button === 0) held = {x: event.clientX, at}; }

function onDrag(event) {
  if (!held || !event.isPrimary) return;
  const width = by("stage").getBoundingClientRect().width;
  const moved = Math.round((event.clientX - held.x) / width * stream.steps.length * 1.5);
  if (held.at + moved !== at) go(held.at + moved);
}

function onLeave() { held = null; }

slider.addEventListener("input", () => { play(false); go(Number(slider.value)); });
by("play").addEventListener("click", () => play(timer === null));
by("views").addEventListener("change", (event) => setView(event.target.value));
by("gain").addEventListener("change", paint);
by("curve").addEventListener("click", toCurve);
by("stage").addEventListener("pointerdown", onHold);
window.addEventListener("pointermove", onDrag);
for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, onLeave);
document.addEventListener("keydown", onKey);

if (streams.length > 1) {
  by("gallery").hidden = false;
  by("gallery").setAttribute("aria-label", `${streams.length} pictures, in a row that scrolls sideways`);
  streams.forEach((one, i) => {
    const button = document.createElement("button"), image = document.createElement("img");
    button.type = "button";
    image.src = one.steps[one.steps.length - 1].src;
    image.alt = "";
    image.classList.toggle("small", Math.max(one.width, one.height) < 80);
    button.append(image, one.name);
    button.addEventListener("click", () => show(i));
    by("gallery").append(button);
  });
}
at = stream.steps.length - 1;
show(0);
