// Parallel coordinates: a range on any axis, by dragging along it or by the fields below the figure. Trials outside
// fade. The ranges stand in the address of the page, and lead to the same trials in the table.
const panel = document.getElementById("parallel");
const element = panel?.querySelector("[data-figure]");
const box = panel?.querySelector("[data-ranges]");
const form = box?.querySelector("form");

const STEPS = 1000, NEAR_PX = 10, MOVED_PX = 3, SLACK = 2e-5;
const MOST_CHOICES = 100;
let axes = [];
let traces = [];    // as the server drew them
let ranges = new Map();   // name of an axis → [lowest, highest], or the texts that are chosen

// An axis: places from 0 to 1, and what lies there.

function placeOf(axis, value) {
  if (axis.categories) return axis.categories.length > 1 ? axis.categories.indexOf(value) / (axis.categories.length - 1) : 0.5;
  if (axis.low === axis.high) return 0.5;
  const scale = axis.log ? Math.log : Number;
  return (scale(value) - scale(axis.low)) / (scale(axis.high) - scale(axis.low));
}

function valueAt(axis, place) {
  const part = Math.min(1, Math.max(0, place));
  if (part === 0 || part === 1) return part ? axis.high : axis.low;
  const value = axis.log ? axis.low * (axis.high / axis.low) ** part : axis.low + (axis.high - axis.low) * part;
  return Number(value.toPrecision(6));
}

const short = (value) => String(Number(Number(value).toPrecision(4)));

/** What a place on an axis has to be: a function, or null where anything will do. */
function test(axis) {
  const range = ranges.get(axis.name);
  if (!range) return null;
  if (axis.categories) {
    const places = range.map((text) => placeOf(axis, text));
    return (place) => places.some((one) => Math.abs(one - place) < SLACK);
  }
  const [low, high] = range.map((value) => placeOf(axis, value));
  return (place) => place >= low - SLACK && place <= high + SLACK;
}

// The figure.

function split() {
  const tests = axes.map(test);
  const outside = { x: [], y: [], customdata: [] };
  let matching = 0, all = 0;
  const inside = traces.map((trace) => {
    const kept = { x: [], y: [], customdata: [] };
    for (let start = 0; start < trace.x.length; start += axes.length + 1) {
      const end = start + axes.length + 1;
      const fits = tests.every((fit, number) => !fit || fit(trace.y[start + number]));
      all += 1;
      matching += fits;
      for (const name of ["x", "y", "customdata"]) (fits ? kept : outside)[name].push(...trace[name].slice(start, end));
    }
    return { ...trace, ...kept };
  });
  const faded = {
    ...outside, type: "scatter", mode: "lines", hoverinfo: "skip", opacity: 0.12, line: { color: "#888", width: 1 },
  };
  return { data: [faded, ...inside], matching, all };
}

function shapes() {
  return axes.flatMap((axis, number) => {
    const range = ranges.get(axis.name);
    if (!range) return [];
    const places = range.map((value) => placeOf(axis, value));
    const spans = axis.categories ? places.map((place) => [place - 0.015, place + 0.015]) : [places];
    return spans.map(([low, high]) => ({
      type: "rect", x0: number - 0.05, x1: number + 0.05, y0: low, y1: high, line: { width: 1, color: "#e07b39" },
      fillcolor: "rgba(224, 123, 57, 0.35)",
    }));
  });
}

async function draw() {
  const { data, matching, all } = split();
  const chosen = ranges.size > 0;
  await window.Plotly.react(element, chosen ? data : traces, { ...element.layout, shapes: shapes() });
  box.querySelector("[data-matching]").textContent = chosen ? `${matching} of ${all} trials` : "";
  box.querySelector("[data-clear]").hidden = !chosen;
  const link = box.querySelector("[data-table]"), where = chosen ? expression() : "";
  link.hidden = !where;
  if (where) link.href = `${link.dataset.table}?${new URLSearchParams({ where })}`;
}

let asked = false;

/** Draws once for all that changes before the next frame. */
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
  });
}

/** The trials inside as the table's filter; empty where it can't say them. */
function expression() {
  const parts = ['status != "failed"', 'reason_class != "pruned"'];
  for (const axis of axes) {
    const range = ranges.get(axis.name);
    if (!range) continue;
    if (axis.column.includes("`")) return "";
    const name = `\`${axis.column}\``;
    if (!axis.categories) {
      parts.push(`${name} >= ${range[0]}`, `${name} <= ${range[1]}`);
      continue;
    }
    const literals = range.map((text) => axis.literals[axis.categories.indexOf(text)]);
    if (literals.includes(null)) return "";
    parts.push(`${name} in [${literals.join(", ")}]`);
  }
  const text = parts.join(" and ");
  return text.length <= 2000 ? text : "";
}

// The address.

let noting = 0;

/** Once it rests: browsers let an address change a few times a second only. */
function note() {
  clearTimeout(noting);
  noting = setTimeout(() => {
    const here = new URL(location.href);
    here.searchParams.delete("ranges");
    if (ranges.size) here.searchParams.set("ranges", JSON.stringify(Object.fromEntries(ranges)));
    history.replaceState(history.state, "", here);
  }, 200);
}

/** The ranges of the address. */
function noted() {
  try {
    return JSON.parse(new URL(location.href).searchParams.get("ranges")) ?? {};
  } catch {
    return {};   // somebody has changed it
  }
}

/** Those of some ranges that fit the axes. */
function fitting(given) {
  const found = new Map();
  for (const axis of axes) {
    const range = Object.hasOwn(given, axis.name) ? given[axis.name] : null;
    if (!Array.isArray(range)) continue;
    if (axis.categories) {
      const known = range.filter((text) => axis.categories.includes(text));
      if (known.length) found.set(axis.name, known);
    } else if (range.length === 2 && range.every(Number.isFinite) && range[0] <= range[1] && (!axis.log || range[0] > 0)) {
      found.set(axis.name, range);
    }
  }
  return found;
}

// The fields.

function made(name, properties = {}, ...parts) {
  const found = Object.assign(document.createElement(name), properties);
  found.append(...parts);
  return found;
}

function slider(axis, end) {
  const input = made("input", { type: "range", min: 0, max: STEPS, step: 1 });
  input.setAttribute("aria-label", `${axis.name}, ${end ? "highest" : "lowest"}`);
  input.addEventListener("input", () => {
    const range = [...(ranges.get(axis.name) ?? [axis.low, axis.high])];
    range[end] = valueAt(axis, input.value / STEPS);
    // The other end moves along.
    range[1 - end] = end ? Math.min(range[0], range[1]) : Math.max(range[0], range[1]);
    choose(axis, range);
  });
  return input;
}

function boxes(axis) {
  return axis.categories.slice(0, MOST_CHOICES).map((text) => {
    const input = made("input", { type: "checkbox", value: text });
    input.addEventListener("change", () => {
      const others = [...form.querySelectorAll("fieldset")].find((one) => one.axis === axis);
      choose(axis, [...others.querySelectorAll("input:checked")].map((one) => one.value));
    });
    return made("label", {}, input, ` ${text}`);
  });
}

function fields() {
  form.replaceChildren(...axes.map((axis) => {
    const said = made("output", {});
    const controls = axis.categories ? boxes(axis) : axis.low < axis.high ? [slider(axis, 0), slider(axis, 1), said] : [`only ${short(axis.low)}`];
    const found = made("fieldset", {}, made("legend", { textContent: axis.name }), ...controls);
    found.axis = axis;
    return found;
  }));
  show();
}

/** What is chosen, on the fields. */
function show() {
  for (const found of form.children) {
    const { axis } = found, range = ranges.get(axis.name);
    if (axis.categories) {
      for (const input of found.querySelectorAll("input")) input.checked = range?.includes(input.value) ?? false;
      continue;
    }
    const ends = range ?? [axis.low, axis.high];
    found.querySelectorAll("input").forEach((input, end) => {
      input.value = Math.round(placeOf(axis, ends[end]) * STEPS);
      input.setAttribute("aria-valuetext", short(ends[end]));
    });
    const said = found.querySelector("output");
    if (said) said.textContent = `${short(ends[0])} … ${short(ends[1])}`;
  }
}

/** Sets the range of an axis; one that leaves nothing out is none. */
function choose(axis, range) {
  const whole = axis.categories ? !range.length || range.length === axis.categories.length
    : range[0] <= axis.low && range[1] >= axis.high;
  if (whole) ranges.delete(axis.name);
  else ranges.set(axis.name, range);
  show();
  note();
  redraw();
}

// Dragging along an axis.

/** Number of the axis near a pointer, and the place on it; null beside all of them. */
function hit(event) {
  const area = element.querySelector(".nsewdrag")?.getBoundingClientRect();
  const { xaxis, yaxis } = element.layout ?? {};
  if (!area || !xaxis?.range || !yaxis?.range || !axes.length) return null;
  const x = xaxis.range[0] + ((event.clientX - area.left) / area.width) * (xaxis.range[1] - xaxis.range[0]);
  const place = yaxis.range[1] - ((event.clientY - area.top) / area.height) * (yaxis.range[1] - yaxis.range[0]);
  const number = Math.round(x);
  const off = (Math.abs(x - number) / (xaxis.range[1] - xaxis.range[0])) * area.width;
  return number >= 0 && number < axes.length && off <= NEAR_PX && place > -0.1 && place < 1.1 ? { number, place } : null;
}

let drag = null;

function dragged(event) {
  const { axis, from, startY } = drag;
  if (Math.abs(event.clientY - startY) > MOVED_PX) drag.moved = true;
  const area = element.querySelector(".nsewdrag").getBoundingClientRect();
  const [bottom, top] = element.layout.yaxis.range;
  const to = top - ((event.clientY - area.top) / area.height) * (top - bottom);
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  if (!drag.moved) return;
  if (axis.categories) choose(axis, axis.categories.filter((text) => placeOf(axis, text) >= low && placeOf(axis, text) <= high));
  else choose(axis, [valueAt(axis, low), valueAt(axis, high)]);
}

/** The trial whose line crosses an axis nearest to a place: points lie on the axes, and a click opens one. */
function nearest(number, place) {
  let found = null, least = 0.03;
  for (const { x, y, customdata } of element.data) {
    for (let at = number; at < x.length; at += axes.length + 1) {
      const off = Math.abs(y[at] - place);
      if (off < least) [found, least] = [customdata[at], off];
    }
  }
  return found;
}

function begin(event) {
  const found = event.button === 0 ? hit(event) : null;
  if (!found) return;
  event.preventDefault();
  event.stopPropagation();   // it is no zoom
  drag = { axis: axes[found.number], number: found.number, from: found.place, startY: event.clientY, moved: false };
  const end = () => {
    window.removeEventListener("mousemove", dragged, true);
    const { number, from, moved } = drag;
    const trial = moved ? null : nearest(number, from);
    if (trial !== null) element.emit("plotly_click", { points: [{ customdata: trial }] });
    drag = null;
  };
  window.addEventListener("mousemove", dragged, true);
  window.addEventListener("mouseup", end, { capture: true, once: true });
}

if (form) {
  element.addEventListener("figure:drawn", () => {
    const first = !axes.length;
    axes = element.layout?.meta?.axes ?? [];
    traces = axes.length ? element.data : [];
    box.hidden = !axes.length;
    ranges = fitting(first ? noted() : Object.fromEntries(ranges));
    if (first && ranges.size) box.open = true;
    // A field that somebody is using stays.
    if (!form.contains(document.activeElement)) fields();
    if (ranges.size) redraw();
  });
  element.addEventListener("mousedown", begin, true);
  form.addEventListener("submit", (event) => event.preventDefault());
  box.querySelector("[data-clear]").addEventListener("click", () => {
    ranges.clear();
    show();
    note();
    redraw();
  });
}
