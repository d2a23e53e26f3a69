// From values to pixels, with round numbers for the axis.

import {count, number} from "nextword/dom.js";

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} at
 * @property {number[]} ticks
 */

/**
 * Round numbers between `low` and `high`, about `many` of them.
 * @param {number} low
 * @param {number} high
 * @param {number} many
 * @returns {number[]}
 */
function roundNumbers(low, high, many) {
  const rough = (high - low || 1) / Math.max(many, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/**
 * Powers of ten between `low` and `high`, with 2 and 5 times them where that is not too many.
 * @param {number} low
 * @param {number} high
 * @param {number} many
 * @returns {number[]}
 */
function roundFactors(low, high, many) {
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
      ticks.push(...factors.map((factor) => Number((factor * 10 ** power).toPrecision(6))));
    }
    const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
    if (inside.length <= many + 2) {
      return inside;
    }
  }
  return [low, high];
}

/**
 * A round number as it is written at an axis: 20, not 20.0.
 * @param {number} value
 * @returns {string}
 */
export function tickText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return number(value, 2);
  }
  return (Number.isInteger(value) ? count(value) : String(value)).replace("-", "−");
}

/**
 * @param {[number, number]} values
 * @param {[number, number]} pixels
 * @param {"linear" | "log"} kind a log scale shows positive values only
 * @param {number} many how many ticks, about
 * @param {boolean} [widen] let the scale reach out to the next round numbers
 * @returns {Scale}
 */
export function scale(values, pixels, kind, many, widen = true) {
  const log = kind === "log";
  let [low, high] = values;
  if (log) {
    high = Math.max(high, Number.MIN_VALUE);
    low = low > 0 ? low : high / 1000;
  } else if (widen) {
    const step = roundNumbers(low, high, many);
    const gap = step.length > 1 ? step[1] - step[0] : high - low || 1;
    [low, high] = [Math.floor(low / gap + 1e-9) * gap, Math.ceil(high / gap - 1e-9) * gap];
  }
  if (high === low) {
    high = low + (log ? low : 1);
  }
  /** @param {number} value */
  const place = (value) => (log ? Math.log(value) : value);
  const [from, to] = [place(low), place(high)];
  return {
    at: (value) => pixels[0] + ((place(value) - from) / (to - from)) * (pixels[1] - pixels[0]),
    ticks: log ? roundFactors(low, high, many) : roundNumbers(low, high, many),
  };
}

/**
 * The least and the largest of finite values.
 * @param {number[]} values
 * @returns {[number, number]}
 */
export function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low > high ? [0, 1] : [low, high];
}

/**
 * Heights for the names at the ends of the lines: as near their lines as they can stand without touching.
 * @param {{y: number, index: number}[]} wanted
 * @param {number} bottom
 * @param {number} line height of a name, px
 * @returns {Map<number, number>}
 */
export function spread(wanted, bottom, line) {
  const sorted = [...wanted].sort((a, b) => a.y - b.y);
  let above = -Infinity;
  for (const name of sorted) {
    name.y = Math.max(name.y, above + line);
    above = name.y;
  }
  let below = bottom;
  for (const name of sorted.reverse()) {
    name.y = Math.min(name.y, below);
    below = name.y - line;
  }
  return new Map(sorted.map(({y, index}) => [index, y]));
}
