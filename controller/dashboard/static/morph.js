// Changes an element's content into new HTML, keeping the nodes that stay: focus, selection, scroll positions,
// open details and what is typed survive. Rows are told apart by data-key.

export function morph(element, html) {
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  children(element, parsed.content);
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset?.key || null : null;
}

function alike(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);
}

function children(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    // A blank that only one of both has must not shift what follows: moved nodes lose their focus.
    while (place && place.nodeType !== Node.ELEMENT_NODE && child.nodeType === Node.ELEMENT_NODE) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
    const match = key ? keyed.get(key) : place && !keyOf(place) && alike(place, child) ? place : null;
    if (match && alike(match, child)) {
      keyed.delete(key);
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      node(match, child);
    } else {
      old.insertBefore(child, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function node(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  // Scripts have drawn into it, or a person types in it.
  if (old.hasAttribute("data-figure") && old.dataset.figure === fresh.dataset.figure) return;
  if (old.hasAttribute("data-keep")) return;
  attributes(old, fresh);
  if (old === document.activeElement && "value" in old && old.nodeName !== "BUTTON") return;
  children(old, fresh);
}

function attributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    const kept = name === "open" && old.nodeName === "DETAILS";
    if (!fresh.hasAttribute(name) && !kept) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}
