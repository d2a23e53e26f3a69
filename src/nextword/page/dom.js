// Tiny helpers: making elements, emptying them, and writing numbers down.

import {begun, ended} from "nextword/drawn.js";

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
export function set(element, attributes) {
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
  set(element, attributes);
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
  set(element, attributes);
  append(element, children);
  return element;
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
 * A number in `digits` significant digits, never in exponent form where it can be read without; a real minus sign.
 * @param {number} value
 * @param {number} [digits]
 * @returns {string}
 */
export function number(value, digits = 3) {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  }
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return value.toExponential(digits - 1).replace(/-/g, "−");
  }
  const whole = size === 0 ? 1 : Math.floor(Math.log10(size)) + 1;
  return value.toFixed(Math.min(Math.max(digits - whole, 0), 8)).replace("-", "−");
}

/**
 * A number with its sign.
 * @param {number} value
 * @param {number} [digits]
 * @returns {string}
 */
export function signed(value, digits = 3) {
  return (value > 0 ? "+" : "") + number(value, digits);
}

/**
 * A share of one as a percentage: 34.2%, 0.82%, 0.0041%. Less than a millionth is said to be so, not rounded to 0.
 * @param {number} share
 * @returns {string}
 */
export function percent(share) {
  const value = share * 100;
  if (!Number.isFinite(value)) {
    return number(value);
  }
  if (value === 0) {
    return "0%";
  }
  if (value < 1e-4) {
    return "<0.0001%";
  }
  return `${value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) : value.toPrecision(2)}%`;
}

/**
 * A whole number in groups of three: 8,192.
 * @param {number} value
 * @returns {string}
 */
export function count(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * A size in bytes: 12.3 MB.
 * @param {number} size
 * @returns {string}
 */
export function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : number(size, 3)} ${units[unit]}`;
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
      begun();
      requestAnimationFrame(() => {
        const now = /** @type {A} */ (latest);
        latest = null;
        try {
          run(...now);
        } finally {
          ended();
        }
      });
    }
  };
}
