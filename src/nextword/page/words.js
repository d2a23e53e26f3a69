/**
 * Tokens as they are written on the page: blanks as signs, fragments with their number.
 *
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").LookAbout} LookAbout
 * @typedef {import("nextword/types.js").Token} Token
 */

/** @type {Record<string, string>} The signs that nextword.tokens.visible has. */
const SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"};

/**
 * @param {string} text
 * @returns {string}
 */
export function shown(text) {
  return text.replace(/[ \n\t\r]/g, (blank) => SIGNS[blank]);
}

/**
 * @param {Token} token
 * @returns {string}
 */
export function label(token) {
  if (token.text === "") {
    return `#${token.id}`;
  }
  return token.parts === 1 ? shown(token.text) : `${shown(token.text)} ${token.part}/${token.parts}`;
}

/**
 * What a look frame is about.
 *
 * @param {Frame} look
 * @returns {LookAbout}
 */
export function aboutOf(look) {
  return look.about;
}

/**
 * @param {Frame} look
 * @returns {string[]}
 */
export function labels(look) {
  return aboutOf(look).tokens.map(label);
}

/**
 * A token that the frame knows the text of, by its id.
 *
 * @param {Frame} look
 * @param {number} id
 * @returns {string}
 */
export function named(look, id) {
  const text = aboutOf(look).texts[id];
  return text ? shown(text) : `#${id}`;
}

/**
 * The text that tokens make up.
 *
 * @param {Token[]} tokens
 * @returns {string}
 */
export function joined(tokens) {
  return tokens.map((token) => (token.part === 1 ? token.text : "")).join("");
}
