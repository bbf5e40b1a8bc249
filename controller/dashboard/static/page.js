// Every page: live fragments, figures, actions, and what is said when the server is away.
//
//   <section data-live="URL">   its content is fetched from URL again when something has changed
//     … data-first              and once at the start; a [data-again] in it says in how many seconds once more
//   <div data-figure="URL">     drawn by Plotly from the JSON at URL, and again then (plots.js)
//   <form data-action="URL">    its fields are posted as JSON; the answer's "done" or "error" is shown
//   <form data-auto>            a search: what is typed changes the address and the page in place
//   <a data-visit>              a link to another view of the same page: changed in place
import { morph } from "./morph.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const banner = document.getElementById("banner");
const AGAIN_MS = 3000;

export function say(text, kind = "") {
  banner.textContent = text;
  banner.className = kind;
  banner.hidden = !text;
}

/** Fetches JSON or a fragment. Rejects with the server's own words. */
export async function ask(url, options = {}) {
  const answer = await fetch(url, { credentials: "same-origin", ...options });
  if (answer.ok) return answer;
  if (answer.status === 401) location.reload();
  let problem = `the server says ${answer.status}`;
  try {
    problem = (await answer.json()).error ?? problem;
  } catch { /* it was no JSON */ }
  const error = new Error(problem);
  error.status = answer.status;
  throw error;
}

// Fragments. One request at a time for each; what changes meanwhile is fetched once more.
const busy = new Map();
const waiting = new WeakMap();

async function load(section) {
  if (busy.has(section)) {
    busy.set(section, true);
    return;
  }
  busy.set(section, false);
  try {
    const answer = await ask(section.dataset.live, { headers: { Accept: "text/html" } });
    const text = await answer.text();
    if (section.isConnected) morph(section, text);
    section.removeAttribute("data-stale");
    document.dispatchEvent(new CustomEvent("page:loaded", { detail: section }));
    // The first figure of a page may come with a fragment.
    if (!figures) drawFigures();
    const later = section.querySelector("[data-again]")?.dataset.again;
    if (later) {
      clearTimeout(waiting.get(section));
      waiting.set(section, setTimeout(() => section.isConnected && load(section), 1000 * later));
    }
  } catch (error) {
    section.setAttribute("data-stale", "");
    if (error.status === 404) say(error.message, "bad");
  } finally {
    const again = busy.get(section);
    busy.delete(section);
    if (again && section.isConnected) load(section);
  }
}

let figures = null;

async function drawFigures() {
  if (!document.querySelector("[data-figure]")) return;
  figures ??= await import("./plots.js");
  figures.drawAll();
}

/** Fetches all that is live on the page again. */
export function refresh() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", refresh, { once: true });
    return;
  }
  document.querySelectorAll("[data-live]").forEach(load);
  drawFigures();
}

// The stream.
function listen() {
  const stream = new EventSource(meta("live"));
  let lost = false;
  stream.addEventListener("hello", () => {
    if (document.querySelector("[data-away]")) location.reload();
    if (lost) {
      lost = false;
      say("");
      refresh();
    }
  });
  stream.addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("page:change"));
    refresh();
  });
  stream.addEventListener("away", (event) => {
    lost = true;
    say(`${JSON.parse(event.data).reason}. What you see may be old; it comes back by itself.`, "bad");
  });
  stream.addEventListener("back", () => {
    lost = false;
    if (document.querySelector("[data-away]")) {
      location.reload();
      return;
    }
    say("");
    refresh();
  });
  stream.addEventListener("error", () => {
    lost = true;
    say("The server can't be reached: `controller dashboard` may have ended. This page tries again.", "bad");
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
  });
  window.addEventListener("pagehide", () => stream.close());
}

// Actions.
function fieldsOf(form, button) {
  const fields = {};
  for (const [name, value] of new FormData(form, button)) {
    fields[name] = name in fields ? [fields[name], value].flat() : value;
  }
  return fields;
}

/** Posts an action. Returns the server's answer. */
export async function act(url, fields) {
  const answer = await ask(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": meta("csrf") },
    body: JSON.stringify(fields),
  });
  return answer.json();
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-action]");
  if (!form) return;
  event.preventDefault();
  const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
  if (question && !confirm(question)) return;
  const button = event.submitter;
  const fields = fieldsOf(form, button); // before the button is disabled: it may have a value
  if (button) button.disabled = true;
  try {
    const answer = await act(form.dataset.action, fields);
    say(answer.done ?? "Done.", "good");
    if (form.dataset.reset !== undefined) form.reset();
    form.closest("dialog")?.close();
    refresh();
  } catch (error) {
    say(error.message, "bad");
  } finally {
    if (button) button.disabled = false;
  }
});

// Another view of the same page: its main part is fetched and changed in place, and the address with it.
let visiting = 0;

/** Shows the page at `url` without leaving this one. `replace`: the address before is forgotten. */
export async function visit(url, { replace = false } = {}) {
  const number = ++visiting;
  try {
    const answer = await ask(url, { headers: { Accept: "text/html" } });
    const text = await answer.text();
    if (number !== visiting) return; // another one was asked for meanwhile
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const main = document.getElementById("main");
    morph(main, fresh.getElementById("main").innerHTML);
    document.title = fresh.title;
    history[replace ? "replaceState" : "pushState"](null, "", url);
    shown = location.pathname + location.search;
    document.dispatchEvent(new CustomEvent("page:loaded", { detail: main }));
    say("");
    drawFigures();
  } catch (error) {
    say(error.message, "bad");
  }
}

function visitForm(form) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") fields.append(name, value);
  const query = fields.toString();
  visit(form.getAttribute("action") + (query ? `?${query}` : ""), { replace: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-visit]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  visit(link.getAttribute("href"));
});
let shown = location.pathname + location.search;
window.addEventListener("popstate", () => {
  // A link within the page is no other view of it.
  if (location.pathname + location.search !== shown) location.reload();
});

// A form of filters: what is typed or chosen there is a new address.
let typing = 0;
document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(() => visitForm(form), 250);
});
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (!form) return;
  event.preventDefault();
  clearTimeout(typing);
  visitForm(form);
});

drawFigures();
document.querySelectorAll("[data-first]").forEach(load);
if (meta("csrf")) {
  listen();
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
}
