// The table of trials: actions on the chosen rows, and rows that are still being read.
import { refresh } from "./page.js";

const chosen = () => [...document.querySelectorAll("input[name='tasks'][form='compare']:checked")];

// A form with data-of-chosen has the chosen tasks among its fields.
document.addEventListener("formdata", (event) => {
  if (event.target.dataset?.ofChosen === undefined) return;
  for (const box of chosen()) event.formData.append("tasks", box.value);
});

function count() {
  const button = document.querySelector("#compare button");
  if (!button) return;
  const number = chosen().length;
  button.textContent = number ? `Compare the chosen (${number})` : "Compare the chosen";
}

document.addEventListener("change", (event) => {
  if (event.target.name === "tasks") count();
  // What is typed waits for Enter: half a filter is a wrong one.
  if (event.target.nodeName === "SELECT") event.target.closest("form[data-on-choice]")?.requestSubmit();
});

function again() {
  const reading = document.querySelector("[data-again]");
  if (!reading) return;
  const wait = Number(reading.dataset.again);
  setTimeout(() => (document.querySelector("[data-again]") ? refresh() : null), wait);
}

document.addEventListener("page:loaded", () => {
  count();
  if (!document.querySelector("[data-again]") && !document.querySelector(".chosen")) location.reload();
  again();
});
count();
again();
