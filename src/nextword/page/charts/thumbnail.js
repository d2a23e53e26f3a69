// The attention pattern of a head as a small picture, with a switch that takes the head out.

import {sequential} from "nextword/charts/colour.js";
import {getOrBuild, redrawOnChange} from "nextword/charts/redraw.js";
import {el, setAttributes} from "nextword/dom.js";

/** @typedef {{weights: Float32Array, count: number, off: boolean}} ThumbnailData */

/**
 * @typedef {object} ThumbnailOptions
 * @property {string} label the head's name, shown under the picture
 * @property {() => void} onOpen
 * @property {() => void} onToggle
 * @property {boolean} [chosen] this head is the one shown large
 * @property {string} [switchLabel] what the switch does, for screen readers and as its tooltip
 * @property {boolean} [disabled] there is nothing that the switch could change
 */

/**
 * @typedef {object} ThumbnailParts
 * @property {"thumbnail"} kind
 * @property {HTMLElement} root
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLElement} name
 * @property {HTMLButtonElement} open
 * @property {HTMLButtonElement} toggle
 * @property {() => void} onOpen
 * @property {() => void} onToggle
 */

const MAX_SIZE = 176;

/** @returns {ThumbnailParts} */
function build() {
  const canvas = el("canvas", {class: "thumb-canvas"});
  const name = el("span", {class: "thumb-name"});
  const open = el("button", {class: "thumb-open", type: "button"}, canvas, name);
  const toggle = el("button", {class: "switch", type: "button", role: "switch", "data-save": "skip"});
  const root = el("div", {class: "thumb"}, open, toggle);
  /** @type {ThumbnailParts} */
  const parts = {kind: "thumbnail", root, canvas, name, open, toggle, onOpen: () => {}, onToggle: () => {}};
  open.addEventListener("click", () => parts.onOpen());
  toggle.addEventListener("click", () => parts.onToggle());
  return parts;
}

/**
 * The pattern in few pixels. Where several weights fall on one pixel it shows the largest of them: an average would
 * wash out the single weights that a pattern is recognised by. What lies in the future stays transparent.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} weights
 * @param {number} count
 */
function paint(canvas, weights, count) {
  const size = Math.min(count, MAX_SIZE);
  canvas.width = size;
  canvas.height = size;
  const pen = canvas.getContext("2d");
  if (!pen || size === 0) {
    return;
  }
  const largest = new Float32Array(size * size).fill(-1);
  for (let row = 0; row < count; row += 1) {
    const y = Math.floor((row * size) / count);
    for (let column = 0; column <= row; column += 1) {
      const cell = y * size + Math.floor((column * size) / count);
      largest[cell] = Math.max(largest[cell], weights[row * count + column]);
    }
  }
  const image = pen.createImageData(size, size);
  largest.forEach((weight, cell) => {
    if (weight >= 0) {
      const [red, green, blue] = sequential(weight);
      image.data.set([red, green, blue, 255], 4 * cell);
    }
  });
  pen.putImageData(image, 0, 0);
}

/**
 * @param {HTMLElement} container
 * @param {ThumbnailData} data
 * @param {ThumbnailOptions} options
 */
export function drawThumbnail(container, data, options) {
  const parts = getOrBuild(container, "thumbnail", build);
  const redraw = () => paint(parts.canvas, data.weights, data.count);
  parts.onOpen = options.onOpen;
  parts.onToggle = options.onToggle;
  parts.name.textContent = options.label;
  parts.root.classList.toggle("off", data.off);
  setAttributes(parts.open, {"aria-pressed": options.chosen ?? false});
  const switchLabel = options.switchLabel ?? options.label;
  const disabled = options.disabled ?? false;
  setAttributes(parts.toggle, {"aria-checked": !data.off, "aria-label": switchLabel, title: switchLabel, disabled});
  redraw();
  redrawOnChange(container, redraw, false);
}
