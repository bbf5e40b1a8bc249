// What a reader chooses of curves that are drawn already: logarithmic axes and smoothing, without the server.

export const OURS = ["smooth", "logx", "logy"];

/** An exponential mean of each curve; a gap begins the next one. */
export function smoothed(values, weight) {
  let sum = 0, share = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) {
      sum = share = 0;
      return value;
    }
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}

const raw = new WeakMap();

/** The curves of a figure as they came: called when it has been drawn. */
export function remember(element) {
  raw.set(element, element.data.map((trace) => [...trace.y]));
}

/** Applies the fields of a form to a figure. */
export function view(element, form) {
  const before = raw.get(element);
  if (!before) return null;
  const weight = Number(form.elements.smooth.value);
  const type = (name) => (form.elements[name].checked ? "log" : "linear");
  const y = before.map((values) => (weight ? smoothed(values, weight) : values));
  return window.Plotly.update(element, { y }, { "xaxis.type": type("logx"), "yaxis.type": type("logy") });
}

/** Whether a form leaves the curves as they came. */
export function plain(form) {
  return !Number(form.elements.smooth.value) && !form.elements.logx.checked && !form.elements.logy.checked;
}
