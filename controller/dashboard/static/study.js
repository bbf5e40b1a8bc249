// A study's figures: what is chosen of them, log axes and smoothing, a click that opens a task.
import { OURS, plain, remember, view } from "./curves.js";
import { say } from "./page.js";
import { show } from "./plots.js";

const figures = document.getElementById("figures");

/** The fields of a form that are not empty. */
function fields(form) {
  return [...new FormData(form)].filter(([name, value]) => value !== "" && !(name === "smooth" && value === "0"));
}

function addressOf(element, form) {
  const url = new URL(element.dataset.base, location.href);
  for (const [name, value] of fields(form)) {
    if (OURS.includes(name)) continue;
    if (name === "x" || name === "y") url.searchParams.append("parameter", value);
    else url.searchParams.set(name, value);
  }
  return url.pathname + url.search;
}

/** The choices, in the address of the page: it can be kept and sent. */
function note() {
  const here = new URL(location.href);
  for (const form of document.querySelectorAll("form[data-choices]")) {
    for (const { name } of form.elements) here.searchParams.delete(name);
    for (const [name, value] of fields(form)) here.searchParams.set(name, value);
  }
  history.replaceState(history.state, "", here);
}

let said = false;

/** Draws a figure from another address, when it comes into sight; says what the server has against it. */
async function change(element, url) {
  if (!element.hasAttribute("data-drawn") && !element.dataset.busy) {
    element.dataset.figure = url;
    return;
  }
  await show(element, url);
  const problem = element.dataset.problem ?? "";
  if (problem || said) say(problem, "bad");
  said = problem !== "";
}

const figuresOf = (form) => form.dataset.choices.split(" ")
  .map((name) => document.querySelector(`#${name} [data-figure]`)).filter(Boolean);

function choose(form) {
  const chosen = form.dataset.choices === "curves" || !form.elements.x.value === !form.elements.y.value;
  for (const element of figuresOf(form)) {
    const url = addressOf(element, form);
    if (!chosen || url === element.dataset.figure) continue;
    change(element, url);
  }
}

const waiting = new WeakMap();

function drawn(element) {
  const meta = element.layout?.meta ?? {};
  const panel = element.closest(".panel");
  const remark = panel.querySelector("[data-note]");
  if (remark) {
    remark.hidden = !(meta.of > meta.shown);
    remark.textContent = meta.of > meta.shown ? `${meta.shown} of ${meta.of} trials: the best, and of the others every so many` : "";
  }
  clearTimeout(waiting.get(element));
  if (meta.again_s) {
    waiting.set(element, setTimeout(() => element.isConnected && show(element, element.dataset.figure), meta.again_s * 1000 + 50));
  }
  if (!element.dataset.clicks && element.on) {
    element.dataset.clicks = "1";
    element.on("plotly_click", ({ points }) => openTask(element, points[0]));
  }
  const form = panel.querySelector('form[data-choices="curves"]');
  if (form) {
    remember(element);
    if (!plain(form)) view(element, form);
  }
}

function openTask(element, point) {
  const id = element.layout?.meta?.tasks?.[point?.customdata];
  if (id && figures.dataset.task) location.assign(figures.dataset.task.replace("TASK", id));
}

// Another objective is another page: all figures are others.
document.getElementById("objective")?.addEventListener("change", (event) => event.currentTarget.requestSubmit());

if (figures) {
  document.addEventListener("figure:drawn", ({ target }) => {
    if (figures.contains(target)) drawn(target);
  });
  for (const form of document.querySelectorAll("form[data-choices]")) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      note();
      const [element] = figuresOf(form);
      if (OURS.includes(event.target.name)) view(element, form)?.catch((error) => say(error.message, "bad"));
      else choose(form);
    });
    choose(form);
  }
  const slices = document.querySelector("#slices [data-figure]");
  if (slices && matchMedia("(max-width: 40rem)").matches) {
    const url = new URL(slices.dataset.base, location.href);
    url.searchParams.set("columns", "1");
    change(slices, url.pathname + url.search);
  }
}
