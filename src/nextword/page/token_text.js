/**
 * Tokens as they are written on the page: blanks as signs, fragments with their number.
 *
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").Token} Token
 */

import {metadataOf} from "nextword/frames.js";

/** @type {Record<string, string>} The signs that nextword.tokens.visible has. */
const SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"};

/**
 * @param {string} text
 * @returns {string}
 */
export function showWhitespace(text) {
  return text.replace(/[ \n\t\r]/g, (blank) => SIGNS[blank]);
}

/**
 * @param {Token} token
 * @returns {string}
 */
export function tokenLabel(token) {
  if (token.text === "") {
    return `#${token.id}`;
  }
  return token.parts === 1 ? showWhitespace(token.text) : `${showWhitespace(token.text)} ${token.part}/${token.parts}`;
}

/**
 * @param {Frame} look
 * @returns {string[]}
 */
export function tokenLabels(look) {
  return metadataOf(look).tokens.map(tokenLabel);
}

/**
 * A token that the frame knows the text of, by its id.
 *
 * @param {Frame} look
 * @param {number} id
 * @returns {string}
 */
export function labelOfId(look, id) {
  const text = metadataOf(look).texts[id];
  return text ? showWhitespace(text) : `#${id}`;
}

/**
 * The text that tokens make up.
 *
 * @param {Token[]} tokens
 * @returns {string}
 */
export function joinTokens(tokens) {
  return tokens.map((token) => (token.part === 1 ? token.text : "")).join("");
}
