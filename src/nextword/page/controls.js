// What stations are put together from: labelled controls, choices, headed places for pictures.

import {el} from "nextword/dom.js";

/**
 * A labelled control.
 *
 * @param {string} name
 * @param {HTMLElement} control
 * @param {HTMLElement} [value] What it is set to.
 * @returns {HTMLElement}
 */
export function field(name, control, value) {
  return el("label", {class: "field"}, el("span", {}, name, value && " ", value), control);
}

/**
 * A choice of a few.
 *
 * @template {string} V
 * @param {[V, string][]} choices Values and what they are called.
 * @param {V} chosen
 * @param {(value: V) => void} onChoose
 * @returns {HTMLSelectElement}
 */
export function select(choices, chosen, onChoose) {
  const node = el("select", {}, ...choices.map(([value, text]) => el("option", {value}, text)));
  node.value = chosen;
  node.addEventListener("change", () => onChoose(/** @type {V} */ (node.value)));
  return node;
}

/**
 * A picture's heading and the place for the picture.
 *
 * @param {string} text
 * @returns {{root: HTMLElement, caption: HTMLElement, place: HTMLElement}}
 */
export function figure(text = "") {
  const caption = el("h3", {class: "caption"}, text);
  const place = el("div");
  return {root: el("div", {}, caption, place), caption, place};
}
