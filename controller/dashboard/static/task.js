// A task's page: output that follows, keys, commands to copy. What a program printed becomes text nodes only.
import { OURS, plain, remember, view } from "./curves.js";
import { ask, say } from "./page.js";

const log = document.getElementById("log");
const rest = document.getElementById("rest");
const follow = document.getElementById("follow");
const earlier = document.getElementById("earlier");
const MOST_PARTS = 60;

function lineOf(pieces) {
  const line = document.createElement("div");
  fill(line, pieces);
  return line;
}

function fill(line, pieces) {
  line.replaceChildren(...pieces.map(([text, style]) => {
    const span = document.createElement("span");
    if (style) span.className = style;
    span.textContent = text;
    return span;
  }));
}

function partOf({ lines, start }) {
  const part = document.createElement("div");
  part.className = "part";
  part.dataset.start = start;
  part.append(...lines.map(lineOf));
  return part;
}

const parts = () => log.querySelectorAll(".part");

function showEarlier(first) {
  earlier.hidden = Number(parts()[0]?.dataset.start ?? 0) <= first;
  document.getElementById("trimmed").hidden = first === 0;
}

let reading = false, again = false;

/** Fetches what was printed since. */
async function readOn() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    let more = true;
    while (more) {
      const query = new URLSearchParams({ from: log.dataset.next, style: log.dataset.style });
      const found = await (await ask(`${log.dataset.log}?${query}`)).json();
      // Read again from the beginning: the task was put back, and printed less.
      if (found.next < Number(log.dataset.next)) parts().forEach((part) => part.remove());
      if (found.lines.length) log.insertBefore(partOf(found), rest);
      fill(rest, found.rest);
      log.dataset.next = found.next;
      log.dataset.style = found.style;
      if (follow.checked) {
        [...parts()].slice(0, -MOST_PARTS).forEach((part) => part.remove());
        log.scrollTop = log.scrollHeight;
      }
      showEarlier(found.first);
      if (found.lines.length || found.rest.length) document.getElementById("silent").hidden = true;
      more = found.more;
    }
  } catch (error) {
    if (error.status === 404) say(error.message, "bad");
  } finally {
    reading = false;
    if (again) {
      again = false;
      readOn();
    }
  }
}

async function readBack() {
  const first = parts()[0];
  const query = new URLSearchParams({ until: first?.dataset.start ?? log.dataset.next });
  follow.checked = false;
  try {
    const found = await (await ask(`${log.dataset.log}?${query}`)).json();
    const height = log.scrollHeight;
    log.insertBefore(partOf(found), first ?? rest);
    // The new lines are seen above those that were the first.
    log.scrollTop = Math.max(0, log.scrollHeight - height - 0.8 * log.clientHeight);
    showEarlier(found.first);
  } catch (error) {
    say(error.message, "bad");
  }
}

earlier.addEventListener("click", readBack);
follow.addEventListener("change", () => {
  if (follow.checked) readOn();
});
// Who scrolls up reads; who comes back to the end follows again.
log.addEventListener("scroll", () => {
  follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
});
log.scrollTop = log.scrollHeight;
document.addEventListener("page:change", () => document.hidden || readOn());
document.addEventListener("visibilitychange", () => document.hidden || readOn());

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.parentElement.querySelector("pre");
  try {
    await navigator.clipboard.writeText(text.textContent);
    say("Copied.", "good");
  } catch {
    getSelection().selectAllChildren(text);
    say("Selected: copy it with the keyboard.");
  }
});

const keys = {
  n: () => document.querySelector("a[rel=next]")?.click(),
  p: () => document.querySelector("a[rel=prev]")?.click(),
  o: () => {
    log.scrollIntoView({ block: "center" });
    log.focus({ preventScroll: true });
  },
  f: () => follow.click(),
  e: () => earlier.hidden || readBack(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select, dialog")) return;
  const action = keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// Curves: axes and smoothing, kept in the address.
const choices = document.getElementById("choices");
const curves = () => document.querySelectorAll("[data-curves] [data-drawn]");

document.addEventListener("figure:drawn", ({ target }) => {
  if (!target.closest("[data-curves]")) return;
  remember(target);
  if (!plain(choices)) view(target, choices);
});
choices.addEventListener("submit", (event) => event.preventDefault());
choices.addEventListener("input", (event) => {
  if (!OURS.includes(event.target.name)) return;
  for (const element of curves()) view(element, choices)?.catch((error) => say(error.message, "bad"));
});
choices.addEventListener("change", (event) => {
  const here = new URL(location.href);
  for (const { name, type, value, checked } of choices.elements) {
    const chosen = type === "checkbox" ? checked : Number(value) > 0;
    if (chosen) here.searchParams.set(name, value);
    else here.searchParams.delete(name);
  }
  here.searchParams.delete("log");
  here.hash = "curves";
  history.replaceState(history.state, "", here);
  if (!OURS.includes(event.target.name)) location.reload();   // other points
});
