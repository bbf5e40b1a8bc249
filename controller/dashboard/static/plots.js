// Figures: <div data-figure="URL"> is drawn by Plotly from {"data": […], "layout": {…}} at URL, in the page's
// colors, when it comes into sight, and again after each change.
import { ask } from "./page.js";

let plotly = null;

function load() {
  plotly ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = document.querySelector('meta[name="plotly"]').content;
    script.onload = () => done(window.Plotly);
    script.onerror = () => {
      plotly = null;
      failed(new Error("Plotly's script can't be loaded"));
    };
    document.head.append(script);
  });
  return plotly;
}

// Plotly sets some styles as an attribute's text, which the page's policy refuses; as properties they may be set.
const setAttribute = SVGElement.prototype.setAttribute;
SVGElement.prototype.setAttribute = function (name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const NARROW = 480, FEW = 6;

/** The page's colors and letters, wherever a figure names none. On a phone, a long legend would leave no room. */
function styled(layout, width, traces) {
  const text = css("--text"), line = css("--line"), soft = css("--soft");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line };
  const found = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    colorway: [1, 2, 3, 4, 5, 6, 7, 8].map((number) => css(`--series-${number}`)),
    hovermode: "closest",
    ...(width < NARROW && traces > FEW ? { showlegend: false } : {}),
    ...layout,
    font: { family: css("--font"), color: text, size: 12, ...layout.font },
    margin: { l: 56, r: 16, t: layout.title ? 40 : 16, b: 44, ...layout.margin },
    hoverlabel: { bgcolor: css("--panel"), bordercolor: soft, font: { color: text }, ...layout.hoverlabel },
    legend: { bgcolor: "rgba(0,0,0,0)", ...layout.legend },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: text, ...layout.modebar },
  };
  for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))])) {
    found[name] = { automargin: true, ...axis, ...layout[name] };
    // Labels of moments would make room beside them, which changes the labels, and so on.
    if (name.startsWith("x") && found[name].automargin) found[name].automargin = "height";
  }
  return found;
}

// Plotly draws these by WebGL, and makes code from text for that: the policy refuses it, and nothing is seen.
const WEBGL = /gl$|^parcoords$|^splom$|3d$|^surface$|^cone$|^streamtube$|^isosurface$|^volume$/;

function checked(figure) {
  const wrong = figure.data.find((trace) => WEBGL.test(trace.type ?? ""));
  if (wrong) throw new Error(`a figure of type ${wrong.type} needs WebGL, which this page does without`);
  return figure;
}

const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
const drawn = new WeakMap();

/** Draws a figure, from the server's JSON or as it was drawn before. */
async function draw(element, again = true) {
  if (element.dataset.busy) {
    element.dataset.more = "1";
    return;
  }
  element.dataset.busy = "1";
  try {
    let figure = drawn.get(element);
    if (again || !figure) {
      const answer = await ask(element.dataset.figure, { headers: { Accept: "application/json" } });
      figure = checked(await answer.json());
      drawn.set(element, figure);
    }
    const Plotly = await load();
    // The view (zoom, hidden lines) stays while the address does.
    await Plotly.react(element, figure.data, { uirevision: element.dataset.figure, ...styled(figure.layout ?? {}, element.clientWidth, figure.data.length) }, CONFIG);
    element.removeAttribute("data-problem");
    element.setAttribute("data-drawn", "");
    element.dispatchEvent(new CustomEvent("figure:drawn", { bubbles: true }));
  } catch (error) {
    if (!drawn.has(element)) element.textContent = error.message;
    if (!error.status) console.error(error);
    element.setAttribute("data-problem", error.message);
  } finally {
    delete element.dataset.busy;
    if (element.dataset.more) {
      delete element.dataset.more;
      if (element.isConnected) draw(element);
    }
  }
}

/** Draws a figure from another address: what a form of the page has chosen. */
export function show(element, url) {
  element.dataset.figure = url;
  return draw(element);
}

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.toggleAttribute("data-seen", isIntersecting);
    if (isIntersecting && (!drawn.has(target) || target.dataset.old)) {
      delete target.dataset.old;
      draw(target);
    }
  }
}, { rootMargin: "200px" });

export function drawAll() {
  for (const element of document.querySelectorAll("[data-figure]")) {
    if (!element.dataset.watched) {
      element.dataset.watched = "1";
      sight.observe(element);
    } else if (element.hasAttribute("data-seen")) {
      draw(element);
    } else {
      element.dataset.old = "1";
    }
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const element of document.querySelectorAll("[data-figure][data-drawn]")) draw(element, false);
});
document.addEventListener("page:loaded", drawAll);
