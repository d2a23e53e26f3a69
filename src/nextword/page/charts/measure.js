// How wide texts are, in the page's own font.

import {cssVariable} from "nextword/charts/colour.js";

/** @type {CanvasRenderingContext2D | null} */
let pen = null;

/**
 * @param {string} text
 * @param {string} [font] as in CSS; small text of the page unless given
 * @returns {number} width in px
 */
export function textWidth(text, font = `12px ${cssVariable("--sans")}`) {
  pen ??= document.createElement("canvas").getContext("2d");
  if (!pen) {
    return text.length * 8;
  }
  pen.font = font;
  return pen.measureText(text).width;
}

/**
 * `text`, cut and ended by "…" where it is wider than `maxWidth` px.
 * @param {string} text
 * @param {number} maxWidth
 * @param {string} [font]
 * @returns {string}
 */
export function fitText(text, maxWidth, font) {
  if (textWidth(text, font) <= maxWidth) {
    return text;
  }
  const characters = Array.from(text);
  while (characters.length > 0 && textWidth(`${characters.join("")}…`, font) > maxWidth) {
    characters.pop();
  }
  return `${characters.join("")}…`;
}

/**
 * The width that a column of labels needs: that of the widest, but not more than `maxWidth`.
 * @param {string[]} labels
 * @param {number} maxWidth
 * @returns {number} px
 */
export function labelWidth(labels, maxWidth) {
  return Math.ceil(Math.min(maxWidth, Math.max(0, ...labels.map((label) => textWidth(label)))));
}

/**
 * Every how many rows a label can stand so that labels do not touch.
 * @param {number} height of one row, px
 * @param {number} [line] height of a line of text, px
 * @returns {number}
 */
export function labelStride(height, line = 13) {
  return Math.max(1, Math.ceil(line / height));
}
