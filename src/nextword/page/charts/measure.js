// How wide texts are, in the page's own font.

import {variable} from "nextword/charts/colour.js";

/** @type {CanvasRenderingContext2D | null} */
let pen = null;

/**
 * @param {string} text
 * @param {string} [font] as in CSS; small text of the page unless given
 * @returns {number} width in px
 */
export function textWidth(text, font = `12px ${variable("--sans")}`) {
  pen ??= document.createElement("canvas").getContext("2d");
  if (!pen) {
    return text.length * 8;
  }
  pen.font = font;
  return pen.measureText(text).width;
}

/**
 * `text`, cut and ended by "…" where it is wider than `room` px.
 * @param {string} text
 * @param {number} room
 * @param {string} [font]
 * @returns {string}
 */
export function fitted(text, room, font) {
  if (textWidth(text, font) <= room) {
    return text;
  }
  const characters = Array.from(text);
  while (characters.length > 0 && textWidth(`${characters.join("")}…`, font) > room) {
    characters.pop();
  }
  return `${characters.join("")}…`;
}

/**
 * The room that a column of labels needs: the widest of them, but not more than `most`.
 * @param {string[]} labels
 * @param {number} most
 * @returns {number} px
 */
export function roomFor(labels, most) {
  return Math.ceil(Math.min(most, Math.max(0, ...labels.map((label) => textWidth(label)))));
}

/**
 * Every how many rows a label can stand so that labels do not touch.
 * @param {number} height of one row, px
 * @param {number} [line] height of a line of text, px
 * @returns {number}
 */
export function labelEvery(height, line = 13) {
  return Math.max(1, Math.ceil(line / height));
}
