// Lines over two axes. Points are joined by straight lines and by nothing else; line_reader.js reads their values.

import {cssVariable, lineColour} from "nextword/charts/colour.js";
import {addLineReader} from "nextword/charts/line_reader.js";
import {fitText, textWidth} from "nextword/charts/measure.js";
import {polyline} from "nextword/charts/paths.js";
import {getOrBuild, redrawOnChange, widthOf} from "nextword/charts/redraw.js";
import {extent, makeScale, spreadLabels, tickText} from "nextword/charts/scale.js";
import {el, svg} from "nextword/dom.js";

/** @typedef {import("nextword/charts/scale.js").Scale} Scale */

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {number[]} x in rising order
 * @property {number[]} y
 * @property {boolean} [dashed]
 */

/**
 * @typedef {object} LinesOptions
 * @property {string} xLabel
 * @property {string} yLabel
 * @property {string} label
 * @property {(series: number, index: number) => string} describe one line of the tooltip
 * @property {boolean} [fromZero] the y axis starts at 0
 * @property {(value: number) => string} xFormat
 */

/**
 * @typedef {object} LinesParts
 * @property {"lines"} kind
 * @property {HTMLElement} root
 * @property {SVGSVGElement} picture
 */

/**
 * Where things stand in a picture.
 * @typedef {object} Layout
 * @property {number} width
 * @property {number} height
 * @property {boolean} narrow the names of the lines stand above the picture, as on a phone, and not at their ends
 * @property {number} above px for those names
 * @property {number} left px for the numbers of the y axis
 * @property {number} right px for the names of the lines
 * @property {Scale} toX
 * @property {Scale} toY
 */

const LINE_HEIGHT = 15;

/** @returns {LinesParts} */
function build() {
  const picture = svg("svg", {class: "lines-picture", "aria-hidden": true});
  return {kind: "lines", root: el("div", {class: "lines"}, picture), picture};
}

/**
 * @param {HTMLElement} container
 * @param {Series[]} series
 * @param {LinesOptions} options
 */
export function drawLines(container, series, options) {
  const parts = getOrBuild(container, "lines", build);
  const reader = addLineReader(parts, series, options);
  const redraw = () => {
    const layout = layOut(widthOf(container), series, options.fromZero ?? false);
    parts.picture.setAttribute("width", String(layout.width));
    parts.picture.setAttribute("height", String(layout.height));
    parts.picture.replaceChildren(
      ...axes(layout, options),
      ...series.map((one, index) => line(one, index, polyline(one.x, one.y, layout.toX.at, layout.toY.at))),
      ...names(layout, series),
      reader.crosshair(layout.toX, layout.toY),
    );
  };
  redraw();
  redrawOnChange(container, redraw);
}

/**
 * @param {number} width
 * @param {Series[]} series
 * @param {boolean} fromZero
 * @returns {Layout}
 */
function layOut(width, series, fromZero) {
  const narrow = width < 500;
  const above = narrow ? series.length * LINE_HEIGHT + 10 : 0;
  const height = (narrow ? 220 : 280) + above;
  const widest = Math.max(0, ...series.map(({name}) => textWidth(name, nameFont())));
  const right = narrow ? 8 : Math.min(width * 0.3, widest) + 14;
  const [low, high] = extent(series.flatMap(({y}) => y));
  const toY = makeScale([fromZero ? Math.min(0, low) : low, high], [height - 40, above + 24], 5);
  const left = Math.max(...toY.ticks.map((tick) => textWidth(tickText(tick)))) + 10;
  const toX = makeScale(
    extent(series.flatMap(({x}) => x)),
    [left, width - right],
    Math.max(2, Math.floor((width - right - left) / 80)),
    false,
  );
  return {width, height, narrow, above, left, right, toX, toY};
}

/** @returns {string} of the names of the lines, as in CSS */
function nameFont() {
  return `600 12px ${cssVariable("--sans")}`;
}

/**
 * @param {Layout} layout
 * @param {LinesOptions} options
 * @returns {SVGElement[]}
 */
function axes({width, height, above, left, right, toX, toY}, {xLabel, yLabel, xFormat}) {
  return [
    ...toY.ticks.flatMap((tick) => [
      svg("path", {class: "grid-line", d: `M${left} ${toY.at(tick).toFixed(1)}H${width - right}`}),
      svg("text", {class: "axis-name", x: left - 6, y: toY.at(tick), dy: "0.35em"}, tickText(tick)),
    ]),
    ...toX.ticks.map((tick) =>
      svg("text", {class: "axis-name middle", x: toX.at(tick), y: height - 24}, xFormat(tick)),
    ),
    svg("text", {class: "axis-title", x: 0, y: above + 11}, yLabel),
    svg("text", {class: "axis-title end", x: width - right, y: height - 6}, xLabel),
  ];
}

/**
 * @param {Series} one
 * @param {number} index
 * @param {string} path
 * @returns {SVGElement}
 */
function line(one, index, path) {
  return svg("path", {class: `line${one.dashed ? " dashed" : ""}`, "data-colour": lineColour(index), d: path});
}

/**
 * The names of the lines: at their ends, or above the picture beside a piece of each.
 * @param {Layout} layout
 * @param {Series[]} series
 * @returns {SVGElement[]}
 */
function names({width, height, narrow, right, toY}, series) {
  const heights = narrow
    ? series.map((_, index) => 8 + index * LINE_HEIGHT)
    : spreadLabels(
        series.map(({y}) => toY.at(y[y.length - 1]) || 0),
        height - 34,
        LINE_HEIGHT,
      );
  const texts = series.map(({name}, index) =>
    svg(
      "text",
      {
        class: "line-name",
        "data-colour": lineColour(index),
        x: narrow ? 28 : width - right + 8,
        y: heights[index],
        dy: "0.35em",
      },
      fitText(name, narrow ? width - 28 : right - 8, nameFont()),
    ),
  );
  return narrow ? [...texts, ...series.map((one, index) => line(one, index, `M0 ${heights[index]}h22`))] : texts;
}
