// The one tooltip of the page, and the one place where screen readers are told what the cursor of a picture stands on.

import {clear, el, onceAFrame} from "nextword/dom.js";

/** @type {HTMLElement | null} */
let box = null;

/** @type {(() => void) | null} */
let anchor = null;

/** @type {HTMLElement | null} */
let liveRegion = null;

/**
 * Show `text` beside a point of the window. The first of several lines is its heading; a tab puts what follows it to
 * the right, so that numbers stand in a column.
 * @param {string} text
 * @param {number} x
 * @param {number} y
 */
export function showTooltip(text, x, y) {
  anchor = null;
  if (!box) {
    box = el("div", {class: "tooltip", "aria-hidden": true});
    document.body.append(box);
  }
  if (box.dataset.text !== text) {
    box.dataset.text = text;
    clear(box);
    const lines = text.split("\n");
    lines.forEach((line, index) => {
      const parts = line.split("\t");
      const cells = parts.map((part) => el("span", {}, part));
      box?.append(el("div", {class: index === 0 && lines.length > 1 ? "tooltip-head" : "tooltip-line"}, ...cells));
    });
  }
  box.classList.add("shown");
  const {offsetWidth: width, offsetHeight: height} = box;
  const gap = 14;
  const right = x + gap + width <= innerWidth - 4 ? x + gap : x - gap - width;
  const below = y + gap + height <= innerHeight - 4 ? y + gap : y - gap - height;
  box.style.setProperty("left", `${Math.max(4, Math.min(right, innerWidth - width - 4))}px`);
  box.style.setProperty("top", `${Math.max(4, below)}px`);
}

/**
 * Show `text` beside something that may be scrolled: the tooltip goes with it.
 * @param {string} text
 * @param {() => {x: number, y: number}} where in the window
 */
export function anchorTooltip(text, where) {
  const place = () => {
    const {x, y} = where();
    showTooltip(text, x, y);
  };
  place();
  anchor = place;
}

/**
 * Whether the tooltip belongs to what the keyboard stands on: then a pointer that is only passed over does not end it.
 * @returns {boolean}
 */
export function isAnchored() {
  return anchor !== null;
}

/** Take the tooltip away. */
export function hideTooltip() {
  anchor = null;
  box?.classList.remove("shown");
}

/**
 * Have `text` read out.
 * @param {string} text
 */
export function announce(text) {
  if (!liveRegion) {
    liveRegion = el("div", {class: "visually-hidden", "aria-live": "polite"});
    document.body.append(liveRegion);
  }
  liveRegion.textContent = text.replace(/[\t\n]+/g, ", ");
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    hideTooltip();
  }
});

const follow = onceAFrame(() => {
  const follow = anchor;
  follow?.();
  anchor = follow;
});

addEventListener("scroll", () => (anchor ? follow() : hideTooltip()), {passive: true, capture: true});
