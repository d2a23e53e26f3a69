// From values to pixels, with round numbers for the axis.

import {formatNumber, groupThousands} from "nextword/format.js";

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} at
 * @property {number[]} ticks
 */

/**
 * Round numbers between `low` and `high`, about `count` of them.
 * @param {number} low
 * @param {number} high
 * @param {number} count
 * @returns {number[]}
 */
function roundNumbers(low, high, count) {
  const rough = (high - low || 1) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/**
 * A round number as it is written at an axis: 20, not 20.0.
 * @param {number} value
 * @returns {string}
 */
export function tickText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return formatNumber(value, 2);
  }
  return (Number.isInteger(value) ? groupThousands(value) : String(value)).replace("-", "−");
}

/**
 * @param {[number, number]} values
 * @param {[number, number]} pixels
 * @param {number} count how many ticks, about
 * @param {boolean} [widen] let the scale reach out to the next round numbers
 * @returns {Scale}
 */
export function makeScale(values, pixels, count, widen = true) {
  let [low, high] = values;
  if (widen) {
    const ticks = roundNumbers(low, high, count);
    const gap = ticks.length > 1 ? ticks[1] - ticks[0] : high - low || 1;
    [low, high] = [Math.floor(low / gap + 1e-9) * gap, Math.ceil(high / gap - 1e-9) * gap];
  }
  if (high === low) {
    high = low + 1;
  }
  return {
    at: (value) => pixels[0] + ((value - low) / (high - low)) * (pixels[1] - pixels[0]),
    ticks: roundNumbers(low, high, count),
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
 * @param {number[]} ends of the lines, px from the top
 * @param {number} bottom
 * @param {number} line height of a name, px
 * @returns {number[]}
 */
export function spreadLabels(ends, bottom, line) {
  const heights = [...ends];
  const order = ends.map((_, index) => index).sort((a, b) => ends[a] - ends[b]);
  let above = -Infinity;
  for (const index of order) {
    heights[index] = Math.max(heights[index], above + line);
    above = heights[index];
  }
  let below = bottom;
  for (const index of order.reverse()) {
    heights[index] = Math.min(heights[index], below);
    below = heights[index] - line;
  }
  return heights;
}
