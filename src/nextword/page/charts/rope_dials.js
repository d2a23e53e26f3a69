// How rotary position turns queries and keys: a dial for every token and pair of channels, a faint arrow before the
// turn and a strong one after it. The arrows of one column share a scale, as a turn leaves lengths as they are.

import {addCursor} from "nextword/charts/cursor.js";
import {fitText, labelWidth} from "nextword/charts/measure.js";
import {arrow, circle} from "nextword/charts/paths.js";
import {getOrBuild, redrawOnChange, widthOf} from "nextword/charts/redraw.js";
import {el, setAttributes, svg} from "nextword/dom.js";

/**
 * @typedef {object} RopeDialsData
 * @property {Float32Array} before [T, P, 2]
 * @property {Float32Array} after [T, P, 2]
 * @property {Float32Array} angle [T, P] radians
 * @property {number} count T
 * @property {number} pairs P
 * @property {number} maxPairs how many pairs are drawn: the first, the last, and others evenly between them
 */

/**
 * @typedef {object} RopeDialsOptions
 * @property {string[]} labels of the tokens
 * @property {(position: number, pair: number) => string} describe
 * @property {string} label
 * @property {(position: number | null) => void} [onHover]
 */

/**
 * @typedef {object} RopeDialsParts
 * @property {"turns"} kind
 * @property {HTMLElement} root
 * @property {HTMLElement} plane
 * @property {SVGSVGElement} picture
 * @property {SVGSVGElement} top
 * @property {SVGSVGElement} left
 * @property {HTMLElement} band
 * @property {number | null} lit
 */

const DIAL = 40;
const RADIUS = 16;

/** @returns {RopeDialsParts} */
function build() {
  const picture = svg("svg", {class: "turns-picture", "aria-hidden": true});
  const top = svg("svg", {class: "dots-top", "aria-hidden": true});
  const left = svg("svg", {class: "dots-left", "aria-hidden": true});
  const band = el("div", {class: "dots-band", "data-save": "skip", hidden: true});
  const plane = el("div", {class: "dots-plane"}, band, picture);
  const root = el("div", {class: "scroll dots turns"}, el("div", {class: "dots-corner"}), top, left, plane);
  return {kind: "turns", root, plane, picture, top, left, band, lit: null};
}

/**
 * The pairs that are drawn. The first turns fastest, the last slowest.
 * @param {number} pairs
 * @param {number} maxPairs
 * @returns {number[]}
 */
function evenlySpacedPairs(pairs, maxPairs) {
  const count = Math.min(pairs, maxPairs);
  return Array.from({length: count}, (_, i) => (count === 1 ? 0 : Math.round((i * (pairs - 1)) / (count - 1))));
}

/**
 * All dials as three paths: however many tokens there are, the browser holds three shapes.
 * @param {RopeDialsData} data
 * @param {number[]} pairs
 * @returns {SVGElement[]}
 */
function dials({before, after, count, pairs: stride}, pairs) {
  let [rims, faint, strong] = ["", "", ""];
  pairs.forEach((pair, column) => {
    let longest = 0;
    for (let row = 0; row < count; row += 1) {
      const i = 2 * (row * stride + pair);
      longest = Math.max(longest, Math.hypot(before[i], before[i + 1]), Math.hypot(after[i], after[i + 1]));
    }
    const size = longest > 0 ? (RADIUS - 1) / longest : 0;
    for (let row = 0; row < count; row += 1) {
      const i = 2 * (row * stride + pair);
      const [x, y] = [(column + 0.5) * DIAL, (row + 0.5) * DIAL];
      rims += circle(x, y, RADIUS);
      faint += arrow(x, y, before[i] * size, before[i + 1] * size);
      strong += arrow(x, y, after[i] * size, after[i + 1] * size);
    }
  });
  return [
    svg("path", {class: "dial-rim", d: rims}),
    svg("path", {class: "dial-before", d: faint}),
    svg("path", {class: "dial-after", d: strong}),
  ];
}

/**
 * @param {HTMLElement} container
 * @param {RopeDialsData} data
 * @param {RopeDialsOptions} options
 * @returns {{highlight: (position: number | null) => void}}
 */
export function drawRopeDials(container, data, options) {
  const parts = getOrBuild(container, "turns", build);
  const {count} = data;
  const pairs = evenlySpacedPairs(data.pairs, data.maxPairs);
  const [width, height] = [pairs.length * DIAL, count * DIAL];

  const redraw = () => {
    const room = labelWidth(options.labels, widthOf(container) < 500 ? 64 : 104);
    setAttributes(parts.picture, {width, height});
    setAttributes(parts.left, {width: room + 10, height});
    setAttributes(parts.top, {width, height: 22});
    parts.plane.style.setProperty("width", `${width}px`);
    parts.plane.style.setProperty("height", `${height}px`);
    parts.picture.replaceChildren(...dials(data, pairs));
    parts.top.replaceChildren(
      ...pairs.map((pair, column) =>
        svg("text", {class: "axis-name middle", x: (column + 0.5) * DIAL, y: 15}, pair),
      ),
    );
    parts.left.replaceChildren(
      ...options.labels.map((label, row) =>
        svg("text", {class: "axis-name", x: room + 2, y: (row + 0.5) * DIAL, dy: "0.35em"}, fitText(label, room)),
      ),
    );
    highlight(parts.lit);
  };

  /** @param {number | null} position */
  const highlight = (position) => {
    if (parts.lit !== null) {
      parts.left.children[parts.lit]?.classList.remove("lit");
    }
    parts.lit = position !== null && position >= 0 && position < count ? position : null;
    parts.band.hidden = parts.lit === null;
    if (parts.lit !== null) {
      parts.band.style.setProperty("top", `${parts.lit * DIAL}px`);
      parts.band.style.setProperty("height", `${DIAL}px`);
      parts.left.children[parts.lit]?.classList.add("lit");
    }
  };

  addCursor(parts.plane, options.label, {
    rows: count,
    columns: pairs.length,
    at: (event) => {
      const box = parts.plane.getBoundingClientRect();
      const [row, column] = [(event.clientY - box.top) / DIAL, (event.clientX - box.left) / DIAL].map(Math.floor);
      return row >= 0 && row < count && column >= 0 && column < pairs.length ? [row, column] : null;
    },
    where: (row, column) => {
      const box = parts.plane.getBoundingClientRect();
      return {x: box.left + (column + 0.5) * DIAL, y: box.top + (row + 0.5) * DIAL};
    },
    describe: (row, column) => options.describe(row, pairs[column]),
    enter: (row) => {
      highlight(row);
      options.onHover?.(row);
    },
    reveal: (row, column) => {
      const [x, y] = [column * DIAL, row * DIAL];
      if (x < parts.root.scrollLeft || x + DIAL > parts.root.scrollLeft + parts.root.clientWidth - 80) {
        parts.root.scrollLeft = x - parts.root.clientWidth / 2;
      }
      if (y < parts.root.scrollTop || y + DIAL > parts.root.scrollTop + parts.root.clientHeight - 22) {
        parts.root.scrollTop = y - parts.root.clientHeight / 2;
      }
    },
  });
  redraw();
  redrawOnChange(container, redraw);
  return {highlight};
}
