// Lines over two axes. Points are joined by straight lines and by nothing else; the pointer reads exact values.

import {el, svg} from "nextword/dom.js";
import {variable} from "nextword/charts/colour.js";
import {explore} from "nextword/charts/cursor.js";
import {fitted, textWidth} from "nextword/charts/measure.js";
import {polyline} from "nextword/charts/paths.js";
import {keep, partsOf, widthOf} from "nextword/charts/redraw.js";
import {extent, scale, spread, tickText} from "nextword/charts/scale.js";

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {number[]} x in rising order
 * @property {number[]} y
 * @property {boolean} [dashed]
 * @property {number} [colour] 0..5, a colour of the page; in order unless given
 * @property {boolean} [quiet] a thin grey line among many; its name is shown only while it is lit
 */

/**
 * @typedef {object} LinesOptions
 * @property {string} xLabel
 * @property {string} yLabel
 * @property {string} label
 * @property {(series: number, index: number) => string} describe one line of the tooltip
 * @property {"linear" | "log"} [xScale]
 * @property {"linear" | "log"} [yScale]
 * @property {boolean} [fromZero] the y axis starts at 0
 * @property {"series" | "x"} [highlights] what `highlight` lights: a line, or the points at an x (default "series")
 * @property {(position: number | null) => void} [onHover] the line (or the index of x) under the pointer
 * @property {(value: number) => string} [xFormat]
 * @property {(value: number) => string} [yFormat]
 * @property {number} [height] px
 */

/**
 * @typedef {object} LinesParts
 * @property {"lines"} kind
 * @property {HTMLElement} root
 * @property {SVGSVGElement} picture
 * @property {number | null} lit
 */

const COLOURS = 6;
const LINE = 15;

/**
 * @param {Series} one
 * @returns {string}
 */
function lineClass(one) {
  return `line${one.dashed ? " dashed" : ""}${one.quiet ? " quiet-line" : ""}`;
}

/**
 * @param {Series} one
 * @param {number} index
 * @returns {number}
 */
function colourOf(one, index) {
  return (one.colour ?? index) % COLOURS;
}

/** @returns {LinesParts} */
function build() {
  const picture = svg("svg", {class: "lines-picture", "aria-hidden": true});
  return {kind: "lines", root: el("div", {class: "lines"}, picture), picture, lit: null};
}

/**
 * @param {HTMLElement} container
 * @param {Series[]} series
 * @param {LinesOptions} options
 * @returns {{highlight: (position: number | null) => void}}
 */
export function drawLines(container, series, options) {
  const parts = partsOf(container, "lines", build);
  const xFormat = options.xFormat ?? tickText;
  const yFormat = options.yFormat ?? tickText;
  const byLine = (options.highlights ?? "series") === "series";
  const named = series.map((one, index) => ({one, index})).filter(({one}) => !one.quiet && one.name);
  /** @type {SVGElement[]} */
  let lines = [];
  /** @type {SVGElement} */
  let cross = svg("g");
  let toX = scale([0, 1], [0, 1], "linear", 5);
  let toY = toX;

  const redraw = () => {
    const width = widthOf(container);
    // Names stand at the ends of their lines, or on a phone above the picture.
    const narrow = width < 500;
    const bold = `600 12px ${variable("--sans")}`;
    const above = narrow ? named.length * LINE + 10 : 0;
    const height = (options.height ?? (narrow ? 220 : 280)) + above;
    const names = narrow
      ? 8
      : Math.min(width * 0.3, Math.max(0, ...named.map(({one}) => textWidth(one.name, bold)))) + 14;
    const yRange = extent(series.flatMap((one) => one.y));
    toY = scale(
      [options.fromZero ? Math.min(0, yRange[0]) : yRange[0], yRange[1]],
      [height - 40, above + 24],
      options.yScale ?? "linear",
      5,
    );
    const left = Math.max(...toY.ticks.map((tick) => textWidth(yFormat(tick)))) + 10;
    toX = scale(
      extent(series.flatMap((one) => one.x)),
      [left, width - names],
      options.xScale ?? "linear",
      Math.max(2, Math.floor((width - names - left) / 80)),
      false,
    );
    lines = series.map((one, index) =>
      svg("path", {
        class: lineClass(one),
        "data-colour": colourOf(one, index),
        d: polyline(one.x, one.y, toX.at, toY.at),
      }),
    );
    const ends = spread(
      named.map(({one, index}) => ({y: toY.at(one.y[one.y.length - 1]) || 0, index})),
      height - 34,
      LINE,
    );
    if (narrow) {
      named.forEach(({index}, i) => ends.set(index, 8 + i * LINE));
    }
    cross = svg("g", {class: "cross", "data-save": "skip"});
    parts.picture.setAttribute("width", String(width));
    parts.picture.setAttribute("height", String(height));
    parts.picture.replaceChildren(
      ...toY.ticks.flatMap((tick) => [
        svg("path", {class: "grid-line", d: `M${left} ${toY.at(tick).toFixed(1)}H${width - names}`}),
        svg("text", {class: "axis-name", x: left - 6, y: toY.at(tick), dy: "0.35em"}, yFormat(tick)),
      ]),
      ...toX.ticks.map((tick) =>
        svg("text", {class: "axis-name middle", x: toX.at(tick), y: height - 24}, xFormat(tick)),
      ),
      svg("text", {class: "axis-title", x: 0, y: above + 11}, options.yLabel),
      svg("text", {class: "axis-title end", x: width - names, y: height - 6}, options.xLabel),
      ...lines,
      ...named.map(({one, index}) =>
        svg(
          "text",
          {
            class: "line-name",
            "data-colour": colourOf(one, index),
            x: narrow ? 28 : width - names + 8,
            y: ends.get(index),
            dy: "0.35em",
          },
          fitted(one.name, narrow ? width - 28 : names - 8, bold),
        ),
      ),
      ...named
        .filter(() => narrow)
        .map(({one, index}) =>
          svg("path", {class: lineClass(one), "data-colour": colourOf(one, index), d: `M0 ${ends.get(index)}h22`}),
        ),
      cross,
    );
    highlight(parts.lit);
  };

  /**
   * The points of all lines that stand at the same x as point `index` of line `line`.
   * @param {number} line
   * @param {number} index
   * @returns {[number, number][]}
   */
  const beside = (line, index) => {
    const x = series[line].x[index];
    /** @type {[number, number][]} */
    const found = [];
    series.forEach((one, other) => {
      const at = other === line ? index : one.x.indexOf(x);
      if (at >= 0 && (!one.quiet || other === line)) {
        found.push([other, at]);
      }
    });
    return found;
  };

  /** @param {[number, number][]} points */
  const point = (points) => {
    cross.replaceChildren(
      ...points.slice(0, 1).map(([line, index]) =>
        svg("path", {
          class: "cross-line",
          d: `M${toX.at(series[line].x[index]).toFixed(1)} 20V${toY.at(toY.ticks[0])}`,
        }),
      ),
      ...points.map(([line, index]) =>
        svg("circle", {
          class: "cross-point",
          "data-colour": colourOf(series[line], line),
          cx: toX.at(series[line].x[index]),
          cy: toY.at(series[line].y[index]),
          r: 4,
        }),
      ),
    );
  };

  /** @param {number | null} position */
  const highlight = (position) => {
    if (byLine && parts.lit !== null) {
      lines[parts.lit]?.classList.remove("lit");
    }
    parts.lit = position;
    parts.picture.classList.toggle("has-lit", byLine && position !== null);
    if (byLine && position !== null) {
      lines[position]?.classList.add("lit");
    }
    if (!byLine) {
      const first = series.findIndex((one) => position !== null && position < one.x.length);
      point(position === null || first < 0 ? [] : beside(first, position));
    }
  };

  /** @param {MouseEvent} event @returns {[number, number] | null} */
  const nearest = (event) => {
    const box = parts.picture.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    /** @type {[number, number] | null} */
    let best = null;
    let distance = Infinity;
    series.forEach((one, line) =>
      one.x.forEach((at, index) => {
        // The nearest x counts first, then the nearest line there.
        const away = Math.abs(toX.at(at) - x) * 1000 + Math.abs(toY.at(one.y[index]) - y);
        if (away < distance) {
          [best, distance] = [[line, index], away];
        }
      }),
    );
    return best;
  };

  explore(parts.root, options.label, {
    rows: series.length,
    columns: Math.max(0, ...series.map((one) => one.x.length)),
    at: nearest,
    where: (line, index) => {
      const box = parts.picture.getBoundingClientRect();
      const one = series[line];
      const last = Math.min(index, one.x.length - 1);
      return {x: box.left + toX.at(one.x[last]), y: box.top + toY.at(one.y[last])};
    },
    describe: (line, index) => {
      const points = beside(line, Math.min(index, series[line].x.length - 1));
      return points.map(([other, at]) => options.describe(other, at)).join("\n");
    },
    enter: (line, index) => {
      if (line === null || index === null) {
        point([]);
        options.onHover?.(null);
        highlight(null);
        return;
      }
      const last = Math.min(index, series[line].x.length - 1);
      highlight(byLine ? (series[line].quiet ? line : null) : last);
      point(beside(line, last));
      options.onHover?.(byLine ? line : last);
    },
  });
  redraw();
  keep(container, redraw);
  return {highlight};
}
