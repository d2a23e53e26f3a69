// When a picture must be drawn again although its data are the same: another theme, another width.

import {forgetColours} from "nextword/charts/colour.js";
import {onceAFrame} from "nextword/dom.js";

/** @typedef {{redraw: () => void, width: number, byWidth: boolean}} Picture */

/** @type {WeakMap<Element, Picture>} */
const pictures = new WeakMap();

// Weak, so that a picture whose station is gone can be collected.
/** @type {Set<WeakRef<Element>>} */
const containers = new Set();

const redrawNow = () => {
  forgetColours();
  for (const reference of containers) {
    const container = reference.deref();
    if (container) {
      pictures.get(container)?.redraw();
    } else {
      containers.delete(reference);
    }
  }
};

const redrawAll = onceAFrame(redrawNow);

const widths = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const picture = pictures.get(entry.target);
    const width = Math.floor(entry.contentRect.width);
    if (picture && picture.byWidth && width > 0 && width !== picture.width) {
      picture.width = width;
      // Not inside the observer's own round: a redraw changes heights, which would start another round at once.
      requestAnimationFrame(() => picture.redraw());
    }
  }
});

new MutationObserver(redrawAll).observe(document.documentElement, {attributeFilter: ["data-theme"]});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
matchMedia("print").addEventListener("change", redrawNow); // paper waits for no frame

/**
 * Call `redraw` whenever the colours change and, with `byWidth`, whenever the container is wider or narrower.
 * @param {HTMLElement} container
 * @param {() => void} redraw
 * @param {boolean} [byWidth]
 */
export function redrawOnChange(container, redraw, byWidth = true) {
  const known = pictures.get(container);
  if (known) {
    known.redraw = redraw;
    known.byWidth = byWidth;
    return;
  }
  pictures.set(container, {redraw, byWidth, width: byWidth ? widthOf(container) : 0});
  containers.add(new WeakRef(container));
  widths.observe(container);
}

/**
 * The width a picture may take. A container that is not shown yet has none; it is drawn again when it has. After the
 * first time it is what the browser told of: to ask again would have everything laid out at once.
 * @param {HTMLElement} container
 * @returns {number}
 */
export function widthOf(container) {
  const observed = pictures.get(container)?.width;
  if (observed) {
    return observed;
  }
  const style = getComputedStyle(container);
  const padding = Number.parseFloat(style.paddingLeft) + Number.parseFloat(style.paddingRight);
  return Math.floor(container.clientWidth - (padding || 0)) || 640;
}

/**
 * @typedef {object} Parts
 * @property {string} kind
 * @property {HTMLElement} root
 */

/** @type {WeakMap<Element, Parts>} */
const built = new WeakMap();

/**
 * The elements of a picture: those of the last draw, so that focus and scrolling survive a redraw, or new ones.
 * @template {Parts} P
 * @param {HTMLElement} container
 * @param {P["kind"]} kind
 * @param {() => P} build
 * @returns {P}
 */
export function getOrBuild(container, kind, build) {
  const known = built.get(container);
  if (known && known.kind === kind && known.root.parentNode === container) {
    return /** @type {P} */ (known);
  }
  const parts = build();
  container.replaceChildren(parts.root);
  built.set(container, parts);
  return parts;
}
