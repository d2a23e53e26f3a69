// A table of signed numbers as colours: one row a token, one column a channel. Each number is one rectangle of whole
// device pixels; nothing is smoothed, averaged or left out. What is too wide scrolls in its own box.

import {diverging} from "nextword/charts/colour.js";
import {addCursor} from "nextword/charts/cursor.js";
import {fitText, labelStride, labelWidth} from "nextword/charts/measure.js";
import {getOrBuild, redrawOnChange, widthOf} from "nextword/charts/redraw.js";
import {el, svg} from "nextword/dom.js";

/**
 * @typedef {object} HeatmapData
 * @property {Float32Array} values [rows, columns]
 * @property {number} rows
 * @property {number} columns
 * @property {string[]} labels of the rows
 * @property {number} limit the largest |value| of the colour scale
 */

/**
 * @typedef {object} HeatmapOptions
 * @property {(row: number | null, column: number | null) => void} onHover
 * @property {(row: number, column: number, value: number) => string} describe
 * @property {string} label
 * @property {number} height about how high the picture may be, px
 */

/**
 * @typedef {object} HeatmapParts
 * @property {"heatmap"} kind
 * @property {HTMLElement} root
 * @property {SVGSVGElement} names
 * @property {HTMLElement} scroll
 * @property {HTMLElement} plane
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLElement} band
 * @property {HTMLElement} spot
 * @property {number | null} lit
 */

const GAP = 8;
const MAX_LABEL_WIDTH = 104;

/** @returns {HeatmapParts} */
function build() {
  const names = svg("svg", {class: "heat-names", "aria-hidden": true});
  const canvas = el("canvas", {class: "heat-canvas"});
  const band = el("div", {class: "heat-band", "data-save": "skip", hidden: true});
  const spot = el("div", {class: "heat-spot", "data-save": "skip", hidden: true});
  const plane = el("div", {class: "heat-plane"}, canvas, band, spot);
  const scroll = el("div", {class: "scroll heat-scroll"}, plane);
  const root = el("div", {class: "heat"}, names, scroll);
  return {kind: "heatmap", root, names, scroll, plane, canvas, band, spot, lit: null};
}

/**
 * Width and height of the picture in device pixels. Whole pixels a cell where cells are narrow, so that all are equal.
 * @param {HeatmapData} data
 * @param {number} room css px
 * @param {number} height css px
 * @returns {{width: number, height: number, ratio: number}}
 */
function sizes({rows, columns}, room, height) {
  const ratio = devicePixelRatio || 1;
  const fit = Math.floor(room * ratio);
  const cell = Math.max(1, Math.floor(fit / columns));
  const row = Math.max(Math.round(2 * ratio), Math.round(Math.min(18, height / rows) * ratio));
  return {
    width: cell >= 4 ? Math.min(fit, columns * Math.round(24 * ratio)) : cell * columns,
    height: row * rows,
    ratio,
  };
}

/**
 * One pixel a number, in a canvas of its own.
 * @param {HeatmapData} data
 * @returns {HTMLCanvasElement}
 */
function pixels({values, rows, columns, limit}) {
  const canvas = el("canvas", {width: columns, height: rows});
  const pen = canvas.getContext("2d");
  if (pen) {
    const image = pen.createImageData(columns, rows);
    for (let i = 0; i < rows * columns; i += 1) {
      const colour = diverging(values[i], limit);
      image.data[4 * i] = colour[0];
      image.data[4 * i + 1] = colour[1];
      image.data[4 * i + 2] = colour[2];
      image.data[4 * i + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
  }
  return canvas;
}

/**
 * @param {SVGSVGElement} names
 * @param {string[]} labels
 * @param {number} room px
 * @param {number} row height, px
 */
function drawNames(names, labels, room, row) {
  const every = labelStride(row);
  names.setAttribute("width", String(room));
  names.setAttribute("height", String(Math.max(14, labels.length * row)));
  names.replaceChildren(
    ...labels.map((label, i) =>
      svg(
        "text",
        {x: room, y: i * row + row / 2, dy: "0.35em", class: i % every === 0 ? "axis-name" : "axis-name spare"},
        fitText(label, room),
      ),
    ),
  );
}

/**
 * @param {HTMLElement} container
 * @param {HeatmapData} data
 * @param {HeatmapOptions} options
 * @returns {{highlight: (row: number | null) => void}}
 */
export function drawHeatmap(container, data, options) {
  const parts = getOrBuild(container, "heatmap", build);
  const {rows, columns, values} = data;

  const redraw = () => {
    const names = labelWidth(data.labels, MAX_LABEL_WIDTH);
    const size = sizes(data, Math.max(120, widthOf(container) - names - GAP), options.height);
    const [width, height] = [size.width / size.ratio, size.height / size.ratio];
    parts.canvas.width = size.width;
    parts.canvas.height = size.height;
    for (const element of [parts.canvas, parts.plane]) {
      element.style.setProperty("width", `${width}px`);
      element.style.setProperty("height", `${height}px`);
    }
    const pen = parts.canvas.getContext("2d");
    if (pen && rows > 0 && columns > 0) {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(pixels(data), 0, 0, size.width, size.height);
    }
    drawNames(parts.names, data.labels, names, height / Math.max(rows, 1));
    highlight(parts.lit);
  };

  /** @param {number | null} row */
  const highlight = (row) => {
    const known = parts.lit === null ? null : parts.names.children[parts.lit];
    known?.classList.remove("lit");
    parts.lit = row !== null && row >= 0 && row < rows ? row : null;
    parts.band.hidden = parts.lit === null;
    if (parts.lit !== null) {
      const height = parts.plane.offsetHeight / rows;
      parts.band.style.setProperty("top", `${parts.lit * height}px`);
      parts.band.style.setProperty("height", `${height}px`);
      parts.names.children[parts.lit]?.classList.add("lit");
    }
  };

  /**
   * @param {number | null} row
   * @param {number | null} column
   */
  const enter = (row, column) => {
    parts.spot.hidden = row === null || column === null;
    if (row !== null && column !== null) {
      const [width, height] = [parts.plane.offsetWidth / columns, parts.plane.offsetHeight / rows];
      parts.spot.style.setProperty("left", `${column * width}px`);
      parts.spot.style.setProperty("top", `${row * height}px`);
      parts.spot.style.setProperty("width", `${width}px`);
      parts.spot.style.setProperty("height", `${height}px`);
    }
    highlight(row);
    options.onHover(row, column);
  };

  addCursor(parts.plane, options.label, {
    rows,
    columns,
    at: (event) => {
      const box = parts.plane.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      return row >= 0 && row < rows && column >= 0 && column < columns ? [row, column] : null;
    },
    where: (row, column) => {
      const box = parts.plane.getBoundingClientRect();
      return {
        x: box.left + ((column + 0.5) / columns) * box.width,
        y: box.top + ((row + 0.5) / rows) * box.height,
      };
    },
    describe: (row, column) => options.describe(row, column, values[row * columns + column]),
    enter,
    reveal: (row, column) => {
      const {clientWidth, scrollLeft} = parts.scroll;
      const x = ((column + 0.5) / columns) * parts.plane.offsetWidth;
      if (x < scrollLeft || x > scrollLeft + clientWidth) {
        parts.scroll.scrollLeft = x - clientWidth / 2;
      }
    },
  });
  redraw();
  redrawOnChange(container, redraw);
  return {highlight};
}
