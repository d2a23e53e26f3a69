// Exact values of lines: the pointer and the arrow keys go from point to point; all points at the same x are marked.

import {lineColour} from "nextword/charts/colour.js";
import {addCursor} from "nextword/charts/cursor.js";
import {svg} from "nextword/dom.js";

/** @typedef {import("nextword/charts/lines.js").LinesOptions} LinesOptions */
/** @typedef {import("nextword/charts/lines.js").LinesParts} LinesParts */
/** @typedef {import("nextword/charts/lines.js").Series} Series */
/** @typedef {import("nextword/charts/scale.js").Scale} Scale */
/** @typedef {[number, number]} Point which line, and which of its points */

/**
 * @param {LinesParts} parts
 * @param {Series[]} series
 * @param {Pick<LinesOptions, "label" | "describe">} options
 * @returns {{crosshair: (toX: Scale, toY: Scale) => SVGElement}} makes what marks the points, at each redraw
 */
export function addLineReader(parts, series, options) {
  /** @type {{toX: Scale, toY: Scale, group: SVGElement}} */
  let drawn;

  /**
   * @param {number} line
   * @param {number} index the last point of a line stands for those that it does not have
   * @returns {{x: number, y: number}} in the picture, px
   */
  const place = (line, index) => {
    const {x, y} = series[line];
    const last = Math.min(index, x.length - 1);
    return {x: drawn.toX.at(x[last]), y: drawn.toY.at(y[last])};
  };

  /** @param {Point[]} points */
  const mark = (points) => {
    drawn.group.replaceChildren(
      ...points.slice(0, 1).map(([line, index]) => {
        const d = `M${place(line, index).x.toFixed(1)} 20V${drawn.toY.at(drawn.toY.ticks[0])}`;
        return svg("path", {class: "cross-line", d});
      }),
      ...points.map(([line, index]) => {
        const {x, y} = place(line, index);
        return svg("circle", {class: "cross-point", "data-colour": lineColour(line), cx: x, cy: y, r: 4});
      }),
    );
  };

  /** @param {MouseEvent} event @returns {Point | null} */
  const nearest = (event) => {
    const box = parts.picture.getBoundingClientRect();
    const pointer = {x: event.clientX - box.left, y: event.clientY - box.top};
    /** @type {Point | null} */
    let best = null;
    let distance = Infinity;
    series.forEach((one, line) =>
      one.x.forEach((_, index) => {
        const {x, y} = place(line, index);
        // The nearest x counts first, then the nearest line there.
        const away = Math.abs(x - pointer.x) * 1000 + Math.abs(y - pointer.y);
        if (away < distance) {
          [best, distance] = [[line, index], away];
        }
      }),
    );
    return best;
  };

  addCursor(parts.root, options.label, {
    rows: series.length,
    columns: Math.max(0, ...series.map(({x}) => x.length)),
    at: nearest,
    where: (line, index) => {
      const box = parts.picture.getBoundingClientRect();
      const {x, y} = place(line, index);
      return {x: box.left + x, y: box.top + y};
    },
    describe: (line, index) =>
      pointsAtSameX(series, line, index)
        .map(([other, at]) => options.describe(other, at))
        .join("\n"),
    enter: (line, index) => mark(line === null || index === null ? [] : pointsAtSameX(series, line, index)),
  });

  return {
    crosshair: (toX, toY) => {
      drawn = {toX, toY, group: svg("g", {class: "cross", "data-save": "skip"})};
      return drawn.group;
    },
  };
}

/**
 * The points of all lines at the x of one point; of a line that is shorter, its last one counts.
 * @param {Series[]} series
 * @param {number} line
 * @param {number} index
 * @returns {Point[]}
 */
function pointsAtSameX(series, line, index) {
  const own = Math.min(index, series[line].x.length - 1);
  return series
    .map((one, other) => /** @type {Point} */ ([other, other === line ? own : one.x.indexOf(series[line].x[own])]))
    .filter(([, at]) => at >= 0);
}
