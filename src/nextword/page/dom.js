// Making elements, finding them, changing them; and drawing at most once a frame.

import {beginTask, endTask} from "nextword/tasks.js";

/** @typedef {string | number | boolean | null | undefined | ((event: any) => void)} AttributeValue */
/** @typedef {Record<string, AttributeValue>} Attributes */
/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Set attributes. A function under `onClick` listens to "click"; `true` is an empty attribute; null, undefined and
 * false take the attribute away, except that `aria-` attributes are written out as "true" and "false".
 * @param {Element} element
 * @param {Attributes} attributes
 */
export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.replace(/^on/, "").toLowerCase(), value);
    } else if (value === null || value === undefined || (value === false && !name.startsWith("aria-"))) {
      element.removeAttribute(name);
    } else {
      element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
    }
  }
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
function append(element, children) {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(typeof child === "number" ? String(child) : child);
    }
  }
}

/**
 * An HTML element: `el("button", {class: "quiet", onClick: open}, "Open")`.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  append(element, children);
  return element;
}

/**
 * An SVG element: `svg("circle", {cx: 3, cy: 4, r: 1})`.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  append(element, children);
  return element;
}

/**
 * An element that index.html has.
 * @param {string} name its id
 * @returns {HTMLElement}
 */
export function byId(name) {
  const node = document.getElementById(name);
  if (node === null) {
    throw new Error(`the page has no element ${name}`);
  }
  return node;
}

/**
 * Take all children away.
 * @template {Element} N
 * @param {N} node
 * @returns {N}
 */
export function clear(node) {
  node.replaceChildren();
  return node;
}

/**
 * The same function, run at most once a frame, with the latest arguments.
 * @template {any[]} A
 * @param {(...args: A) => void} run
 * @returns {(...args: A) => void}
 */
export function onceAFrame(run) {
  /** @type {A | null} */
  let latest = null;
  return (...args) => {
    const waiting = latest !== null;
    latest = args;
    if (!waiting) {
      beginTask();
      requestAnimationFrame(() => {
        const now = /** @type {A} */ (latest);
        latest = null;
        try {
          run(...now);
        } finally {
          endTask();
        }
      });
    }
  };
}
