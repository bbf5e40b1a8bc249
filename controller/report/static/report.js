/* The report's own script: unpacks what stands in the page, draws the plots, sorts and filters the trials.
   Text that programs wrote is set as text only. */
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  function complain(text) {
    const place = byId("problem");
    place.textContent = text;
    place.hidden = false;
  }

  // Data: JSON or a script, as gzip in base64.

  function bytes(letters) {
    const binary = atob(letters);
    const found = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) found[i] = binary.charCodeAt(i);
    return found;
  }

  async function unpacked(id) {
    const stream = new Blob([bytes(byId(id).textContent)]).stream();
    return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
  }

  const ARRAYS = {
    i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
    f4: Float32Array, f8: Float64Array,
  };

  function numbers(packed) {
    const flat = new ARRAYS[packed.dtype](bytes(packed.bdata).buffer);
    if (!packed.shape) return flat;
    const [rows, columns] = String(packed.shape).split(",").map(Number);
    return Array.from({ length: rows }, (_, row) => flat.subarray(row * columns, (row + 1) * columns));
  }

  function decoded(value) {
    if (Array.isArray(value)) return value.map(decoded);
    if (value === null || typeof value !== "object") return value;
    if (typeof value.bdata === "string" && value.dtype in ARRAYS) return numbers(value);
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, decoded(one)]));
  }

  // Light and dark

  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = "";
  let printing = false;

  function setTheme() {
    const wanted = printing ? "light" : chosen || (dark.matches ? "dark" : "light");
    if (root.dataset.theme === wanted) return;
    root.dataset.theme = wanted;
    drawAgain();
  }

  function template() {
    const style = getComputedStyle(root);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: color("--grid"), zerolinecolor: color("--line"), linecolor: color("--line") };
    const clear = "rgba(0,0,0,0)";
    return {
      layout: {
        paper_bgcolor: clear, plot_bgcolor: clear, xaxis: axis, yaxis: axis,
        font: { color: color("--text"), family: "system-ui, sans-serif", size: 12 },
        legend: { bgcolor: clear }, modebar: { bgcolor: clear, color: color("--dim"), activecolor: color("--accent") },
        hoverlabel: { bgcolor: color("--raised"), bordercolor: color("--line"), font: { color: color("--text") } },
      },
    };
  }

  // Plots

  const drawn = new Map();

  function loadPlotly(text) {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    if (!window.Plotly) throw new Error("this browser refuses Plotly's script");
  }

  /* An average that follows a curve, as TensorBoard's does; it begins again after a gap. */
  function smoothed(values, weight) {
    let sum = 0;
    let mass = 0;
    return Array.from(values, (value) => {
      if (!Number.isFinite(value)) {
        sum = mass = 0;
        return value;
      }
      sum = weight * sum + (1 - weight) * value;
      mass = weight * mass + (1 - weight);
      return sum / mass;
    });
  }

  function chosenData({ data, time, byTime, smooth }) {
    return data.map((trace, place) => ({
      ...trace,
      ...(byTime ? { x: time.x[place] } : {}),
      ...(smooth ? { y: smoothed(trace.y, smooth) } : {}),
    }));
  }

  function draw(figure) {
    if (figure.layout.height) figure.place.style.height = `${figure.layout.height}px`;
    const layout = { ...figure.layout, template: template(), autosize: true };
    if (figure.byTime) layout.xaxis = figure.time.xaxis;
    for (const name of Object.keys(layout)) {
      // Labels of moments would make room beside them, which changes the labels, and so on.
      if (/^xaxis\d*$/.test(name) && layout[name].automargin) layout[name] = { ...layout[name], automargin: "height" };
      if (figure.log && /^yaxis\d*$/.test(name)) layout[name] = { ...layout[name], type: "log", autorange: true };
    }
    return window.Plotly.react(figure.place, chosenData(figure), layout, { responsive: true, displaylogo: false });
  }

  function drawAgain() {
    for (const figure of drawn.values()) draw(figure);
  }

  async function drawAll() {
    const places = [...document.querySelectorAll("[data-pack]")];
    if (!places.length) return;
    loadPlotly(await unpacked("plotly-data"));
    for (const place of places) {
      const figure = { ...decoded(JSON.parse(await unpacked(place.dataset.pack))), place };
      drawn.set(place.id, figure);
      await draw(figure);
      await new Promise((resume) => setTimeout(resume));
    }
    for (const button of document.querySelectorAll("[data-toggle]")) {
      const name = button.dataset.toggle === "log" ? "log" : "byTime";
      button.addEventListener("click", () => {
        const figure = drawn.get(button.dataset.figure);
        figure[name] = !figure[name];
        button.setAttribute("aria-pressed", String(figure[name]));
        draw(figure);
      });
    }
    for (const slider of document.querySelectorAll("[data-smooth]")) {
      slider.addEventListener("change", () => {
        const figure = drawn.get(slider.dataset.smooth);
        figure.smooth = Number(slider.value);
        draw(figure);
      });
    }
  }

  // The table of trials

  const PAGE = 100;
  const { Mistake, condition, missing, shown } = filters;

  function compareValues(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return shown(a).localeCompare(shown(b), undefined, { numeric: true });
  }

  function makeTable({ columns, values }) {
    const rows = (values[0] || []).map((_, row) => values.map((column) => column[row]));
    const state = { rows, sort: -1, down: false, page: 0 };
    const [head, body] = [byId("table").tHead, byId("table").tBodies[0]];

    function show() {
      const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
      state.page = Math.min(Math.max(0, state.page), pages - 1);
      const first = state.page * PAGE;
      const part = state.rows.slice(first, first + PAGE);
      body.replaceChildren(...part.map((row) => {
        const line = document.createElement("tr");
        row.forEach((value, place) => {
          const cell = line.insertCell();
          cell.textContent = shown(value);
          if (cell.textContent.length > 30) cell.title = cell.textContent;
          if (columns[place].number) cell.className = "number";
          if (columns[place].name === "status") cell.className = String(value);
          if (columns[place].less) cell.classList.add("less");
        });
        return line;
      }));
      const all = `${rows.length} trial${rows.length === 1 ? "" : "s"}`;
      const of = state.rows.length === rows.length ? all : `${state.rows.length} of ${all}`;
      byId("count").textContent = state.rows.length > PAGE ? `${first + 1} to ${first + part.length} of ${of}` : of;
      byId("before").disabled = state.page === 0;
      byId("after").disabled = state.page >= pages - 1;
    }

    function order() {
      if (state.sort < 0) return;
      const sign = state.down ? -1 : 1;
      state.rows.sort((a, b) => {
        const [one, other] = [a[state.sort], b[state.sort]];
        // What a row lacks comes last, whichever way.
        if (missing(one) || missing(other)) return missing(one) - missing(other);
        return sign * compareValues(one, other);
      });
    }

    function filter() {
      const problem = byId("filter-problem");
      try {
        state.rows = rows.filter(condition(byId("filter").value, columns));
        problem.hidden = true;
      } catch (error) {
        if (!(error instanceof Mistake)) throw error;
        problem.textContent = `The filter: ${error.message}.`;
        problem.hidden = false;
        return;
      }
      state.page = 0;
      order();
      show();
    }

    const line = head.insertRow();
    columns.forEach((column, place) => {
      const cell = document.createElement("th");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = column.name;
      if (column.number) cell.className = "number";
      if (column.less) cell.classList.add("less");
      button.addEventListener("click", () => {
        state.down = state.sort === place && !state.down;
        state.sort = place;
        for (const other of line.cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        order();
        show();
      });
      cell.append(button);
      line.append(cell);
    });
    byId("filter").addEventListener("input", filter);
    byId("before").addEventListener("click", () => { state.page -= 1; show(); });
    byId("after").addEventListener("click", () => { state.page += 1; show(); });
    byId("csv").addEventListener("click", () => save(columns, state.rows));
    show();
  }

  function save(columns, rows) {
    // What a spreadsheet would take for a formula gets a ' before it.
    const cell = (value) => {
      const text = missing(value) ? "" : typeof value === "string" ? value : JSON.stringify(value);
      const safe = typeof value === "string" && /^[=+\-@\t\r\n]/.test(text) && isNaN(text) ? `'${text}` : text;
      return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const lines = [columns.map((column) => column.name), ...rows].map((row) => row.map(cell).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = "trials.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // All of it

  async function begin() {
    byId("needs-script").hidden = true;
    dark.addEventListener("change", setTheme);
    byId("theme").addEventListener("click", () => {
      chosen = root.dataset.theme === "dark" ? "light" : "dark";
      setTheme();
    });
    addEventListener("beforeprint", () => { printing = true; setTheme(); });
    addEventListener("afterprint", () => { printing = false; setTheme(); });
    setTheme();
    if (!("DecompressionStream" in window)) {
      complain("This browser is too old for the plots and the table of all trials: one of 2023 or later has them.");
      return;
    }
    makeTable(JSON.parse(await unpacked("trials-data")));
    await drawAll();
    root.dataset.ready = "yes";
  }

  begin().catch((error) => complain(`The report could not be shown whole: ${error.message}`));
})();
