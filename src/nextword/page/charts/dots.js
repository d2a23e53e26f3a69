// What one head looks at, as a grid of dots: rows look at columns; the area of a dot is in proportion to its weight.

import {addCursor} from "nextword/charts/cursor.js";
import {buildPainter} from "nextword/charts/dots_canvas.js";
import {fitText, labelStride, labelWidth} from "nextword/charts/measure.js";
import {circle} from "nextword/charts/paths.js";
import {getOrBuild, redrawOnChange, widthOf} from "nextword/charts/redraw.js";
import {el, setAttributes, svg} from "nextword/dom.js";

/** @typedef {{weights: Float32Array, count: number, labels: string[]}} DotsData */

/**
 * @typedef {object} DotsOptions
 * @property {(row: number | null) => void} onHover
 * @property {(row: number, column: number, weight: number) => string} describe
 * @property {string} label
 */

/**
 * @typedef {object} DotsParts
 * @property {"dots"} kind
 * @property {HTMLElement} root
 * @property {HTMLElement} plane
 * @property {SVGSVGElement} left
 * @property {SVGSVGElement} top
 * @property {HTMLElement} band
 * @property {HTMLElement} spot
 * @property {SVGSVGElement} picture
 * @property {import("nextword/charts/dots_canvas.js").Painter} painter
 * @property {number | null} lit
 */

/** Above this many tokens the dots are painted on a canvas, and only those that are in sight. */
const MAX_SVG_TOKENS = 64;
const TILT = 55;

/** @returns {DotsParts} */
function build() {
  const left = svg("svg", {class: "dots-left", "aria-hidden": true});
  const top = svg("svg", {class: "dots-top", "aria-hidden": true});
  const picture = svg("svg", {class: "dots-picture", "aria-hidden": true});
  const band = el("div", {class: "dots-band", "data-save": "skip", hidden: true});
  const spot = el("div", {class: "heat-spot", "data-save": "skip", hidden: true});
  const canvas = el("canvas", {class: "dots-canvas"});
  const plane = el("div", {class: "dots-plane"}, band, picture, canvas, spot);
  const root = el("div", {class: "scroll dots"}, el("div", {class: "dots-corner"}), top, left, plane);
  return {kind: "dots", root, plane, left, top, band, spot, picture, painter: buildPainter(root, canvas), lit: null};
}

/**
 * The steps below which a row may look: the tokens up to itself.
 * @param {number} count
 * @param {number} cell
 * @returns {string}
 */
function staircase(count, cell) {
  const steps = Array.from({length: count}, (_, i) => `V${i * cell}H${(i + 1) * cell}`);
  return `M0 0${steps.join("")}V${count * cell}H0Z`;
}

/**
 * @param {DotsData} data
 * @param {number} cell
 * @returns {SVGElement[]}
 */
function dotRows({weights, count}, cell) {
  return Array.from({length: count}, (_, row) => {
    let path = "";
    for (let column = 0; column <= row; column += 1) {
      const radius = Math.sqrt(Math.max(weights[row * count + column], 0)) * (cell / 2 - 0.5);
      if (radius > 0.05) {
        path += circle((column + 0.5) * cell, (row + 0.5) * cell, radius);
      }
    }
    return svg("path", {class: "dot-row", d: path});
  });
}

/**
 * @param {DotsParts} parts
 * @param {string[]} labels
 * @param {number} cell
 * @param {number} room of the labels, px
 */
function drawNames(parts, labels, cell, room) {
  const every = labelStride(cell, 12);
  const rise = Math.ceil(room * Math.sin((TILT * Math.PI) / 180)) + 10;
  const lean = Math.ceil(room * Math.cos((TILT * Math.PI) / 180));
  setAttributes(parts.left, {width: room + 8, height: labels.length * cell});
  setAttributes(parts.top, {width: labels.length * cell + lean, height: rise});
  /** @param {number} i */
  const labelClass = (i) => (i % every === 0 ? "axis-name" : "axis-name spare");
  parts.left.replaceChildren(
    ...labels.map((label, i) =>
      svg("text", {x: room + 2, y: (i + 0.5) * cell, dy: "0.35em", class: labelClass(i)}, fitText(label, room)),
    ),
  );
  parts.top.replaceChildren(
    ...labels.map((label, i) => {
      const [x, y] = [(i + 0.5) * cell + 3, rise - 4];
      const transform = `rotate(-${TILT} ${x} ${y})`;
      return svg("text", {x, y, transform, class: `${labelClass(i)} start`}, fitText(label, room));
    }),
  );
}

/**
 * @param {HTMLElement} container
 * @param {DotsData} data
 * @param {DotsOptions} options
 * @returns {{highlight: (row: number | null) => void}}
 */
export function drawDots(container, data, options) {
  const parts = getOrBuild(container, "dots", build);
  const {count, weights, labels} = data;
  let cell = 16;

  const redraw = () => {
    const width = widthOf(container);
    const room = labelWidth(labels, width < 500 ? 64 : 96);
    const onCanvas = count > MAX_SVG_TOKENS;
    cell = onCanvas ? 11 : Math.min(28, Math.max(12, Math.floor(Math.min(width - room * 1.6 - 12, 660) / count)));
    drawNames(parts, labels, cell, room);
    parts.root.classList.toggle("many", onCanvas);
    parts.plane.style.setProperty("width", `${count * cell}px`);
    parts.plane.style.setProperty("height", `${count * cell}px`);
    setAttributes(parts.picture, {width: count * cell, height: count * cell});
    parts.picture.replaceChildren();
    if (onCanvas) {
      parts.painter.paint({weights, count, cell, left: room + 8, top: parts.top.height.baseVal.value});
    } else {
      parts.painter.stop();
      parts.picture.append(svg("path", {class: "dots-past", d: staircase(count, cell)}), ...dotRows(data, cell));
    }
    highlight(parts.lit);
  };

  /** @param {number | null} row */
  const highlight = (row) => {
    if (parts.lit !== null) {
      parts.left.children[parts.lit]?.classList.remove("lit");
      parts.top.children[parts.lit]?.classList.remove("lit");
    }
    parts.lit = row !== null && row >= 0 && row < count ? row : null;
    parts.band.hidden = parts.lit === null;
    if (parts.lit !== null) {
      parts.band.style.setProperty("top", `${parts.lit * cell}px`);
      parts.band.style.setProperty("height", `${cell}px`);
      parts.left.children[parts.lit]?.classList.add("lit");
      parts.top.children[parts.lit]?.classList.add("lit");
    }
  };

  addCursor(parts.plane, options.label, {
    rows: count,
    columns: count,
    at: (event) => {
      const box = parts.plane.getBoundingClientRect();
      const row = Math.floor((event.clientY - box.top) / cell);
      const column = Math.floor((event.clientX - box.left) / cell);
      return row >= 0 && row < count && column >= 0 && column < count ? [row, column] : null;
    },
    where: (row, column) => {
      const box = parts.plane.getBoundingClientRect();
      return {x: box.left + (column + 0.5) * cell, y: box.top + (row + 0.5) * cell};
    },
    describe: (row, column) => options.describe(row, column, weights[row * count + column]),
    enter: (row, column) => {
      parts.spot.hidden = row === null || column === null;
      parts.spot.style.setProperty("left", `${(column ?? 0) * cell}px`);
      parts.spot.style.setProperty("top", `${(row ?? 0) * cell}px`);
      parts.spot.style.setProperty("width", `${cell}px`);
      parts.spot.style.setProperty("height", `${cell}px`);
      highlight(row);
      options.onHover(row);
    },
    reveal: (row, column) => parts.painter.reveal((column + 0.5) * cell, (row + 0.5) * cell),
  });
  redraw();
  redrawOnChange(container, redraw);
  return {highlight};
}
