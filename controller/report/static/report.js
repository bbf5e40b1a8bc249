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

  function draw(figure) {
    if (figure.layout.height) figure.place.style.height = `${figure.layout.height}px`;
    const layout = { ...figure.layout, template: template(), autosize: true };
    for (const name of Object.keys(layout)) {
      // Labels of moments would make room beside them, which changes the labels, and so on.
      if (/^xaxis\d*$/.test(name) && layout[name].automargin) layout[name] = { ...layout[name], automargin: "height" };
      if (figure.log && /^yaxis\d*$/.test(name)) layout[name] = { ...layout[name], type: "log", autorange: true };
    }
    return window.Plotly.react(figure.place, figure.data, layout, { responsive: true, displaylogo: false });
  }

  function drawAgain() {
    for (const figure of drawn.values()) draw(figure);
  }

  async function drawAll() {
    const places = [...document.querySelectorAll("[data-pack]")];
    if (!places.length) return;
    loadPlotly(await unpacked("plotly-data"));
    for (const place of places) {
      const { data, layout } = decoded(JSON.parse(await unpacked(place.dataset.pack)));
      const figure = { place, data, layout, log: false };
      drawn.set(place.id, figure);
      await draw(figure);
      await new Promise((resume) => setTimeout(resume));
    }
    for (const button of document.querySelectorAll("[data-log]")) {
      button.addEventListener("click", () => {
        const figure = drawn.get(button.dataset.log);
        figure.log = !figure.log;
        button.setAttribute("aria-pressed", String(figure.log));
        draw(figure);
      });
    }
  }

  // Filter: `lr < 0.01 and status == "completed"`, or words that a row holds

  class Mistake extends Error {}

  const TOKEN = /\s*(?:(\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|`([^`]*)`|([<>=!]=|[<>()[\],+-])|([\p{L}_][\p{L}\p{N}_]*))/uy;
  const WORDS = new Set(["and", "or", "not", "in", "is"]);
  const VALUES = new Map([["None", null], ["null", null], ["True", true], ["true", true], ["False", false], ["false", false]]);

  function tokens(text) {
    const found = [];
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < text.trimEnd().length) {
      const at = TOKEN.lastIndex;
      const match = TOKEN.exec(text);
      if (!match) throw new Mistake(`can't be read from here on: ${text.slice(at).trim().slice(0, 20)}`);
      const [, number, double, single, ticked, sign, word] = match;
      if (number !== undefined) found.push({ kind: "value", value: Number(number.replaceAll("_", "")) });
      else if (double !== undefined || single !== undefined) {
        found.push({ kind: "value", value: (double ?? single).replace(/\\(.)/g, "$1") });
      } else if (ticked !== undefined) found.push({ kind: "name", value: ticked });
      else if (sign !== undefined) found.push({ kind: "sign", value: sign });
      else found.push({ kind: WORDS.has(word) ? "sign" : "name", value: word });
    }
    return found;
  }

  const missing = (one) => one === null || one === undefined;

  function compared(sign, a, b) {
    if (sign === "is") return missing(b) ? missing(a) : a === b;
    if (sign === "is not") return missing(b) ? !missing(a) : a !== b;
    if (missing(a) || missing(b)) return null;
    if (sign === "in" || sign === "not in") {
      const inside = Array.isArray(b) ? b.includes(a) : String(b).includes(String(a));
      return sign === "in" ? inside : !inside;
    }
    if (sign === "==") return a === b;
    if (sign === "!=") return a !== b;
    if (typeof a !== typeof b) return null;
    return sign === "<" ? a < b : sign === "<=" ? a <= b : sign === ">" ? a > b : a >= b;
  }

  const COMPARISONS = new Set(["==", "!=", "<", "<=", ">", ">=", "in", "is"]);

  /* A function of a row, which gives true, false, or null where the row lacks what is asked for. */
  function parsed(text, columns) {
    const list = tokens(text);
    let place = 0;
    const next = (value) => {
      const token = list[place];
      if (!token || token.kind !== "sign" || token.value !== value) return false;
      place += 1;
      return true;
    };
    const needed = (value) => {
      if (!next(value)) throw new Mistake(`"${value}" is missing`);
    };

    function joined(word, below, decides) {
      const parts = [below()];
      while (next(word)) parts.push(below());
      if (parts.length === 1) return parts[0];
      return (row) => {
        const said = parts.map((part) => part(row));
        return said.includes(decides) ? decides : said.includes(null) ? null : !decides;
      };
    }
    const either = () => joined("or", both, true);
    const both = () => joined("and", negated, false);

    function negated() {
      if (!next("not")) return chain();
      const inner = negated();
      return (row) => (inner(row) === null ? null : !inner(row));
    }

    function chain() {
      const operands = [operand()];
      const signs = [];
      for (;;) {
        const token = list[place];
        if (!token || token.kind !== "sign") break;
        let sign = token.value;
        if (sign === "not" && list[place + 1]?.value === "in") {
          place += 1;
          sign = "not in";
        } else if (!COMPARISONS.has(sign)) break;
        place += 1;
        if (sign === "is" && next("not")) sign = "is not";
        signs.push(sign);
        operands.push(operand());
      }
      if (!signs.length) return operands[0];
      return (row) => {
        let said = true;
        for (let i = 0; i < signs.length && said !== false; i++) {
          const one = compared(signs[i], operands[i](row), operands[i + 1](row));
          said = one === false ? false : one === null ? null : said;
        }
        return said;
      };
    }

    function operand() {
      const minus = next("-");
      if (next("+") || minus) {
        const inner = operand();
        return minus ? (row) => (typeof inner(row) === "number" ? -inner(row) : null) : inner;
      }
      if (next("(")) {
        const inner = either();
        needed(")");
        return inner;
      }
      if (next("[")) {
        const items = [];
        while (!next("]")) {
          items.push(operand());
          if (!next(",")) {
            needed("]");
            break;
          }
        }
        return (row) => items.map((item) => item(row));
      }
      const token = list[place];
      if (!token) throw new Mistake("it ends too early");
      if (token.kind === "sign") throw new Mistake(`"${token.value}" is out of place`);
      place += 1;
      if (token.kind === "value") return () => token.value;
      const column = columns.findIndex((one) => one.name === token.value);
      if (column >= 0) return (row) => row[column];
      if (VALUES.has(token.value)) return () => VALUES.get(token.value);
      throw new Mistake(`there is no column ${token.value}`);
    }

    const test = either();
    if (place < list.length) throw new Mistake(`"${list[place].value}" is out of place`);
    return (row) => test(row) === true;
  }

  function condition(text, columns) {
    if (!text.trim()) return () => true;
    if (/[<>=]|\b(in|is|not)\b/.test(text)) return parsed(text, columns);
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return (row) => {
      const whole = row.map(shown).join("\n").toLowerCase();
      return words.every((word) => whole.includes(word));
    };
  }

  // The table of trials

  const PAGE = 100;

  function shown(value) {
    if (missing(value)) return "";
    if (typeof value === "number") return String(Number(value.toPrecision(6)));
    return typeof value === "string" ? value : JSON.stringify(value);
  }

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
