/**
 * The Python that makes a picture, with the text and the choices of the page filled in.
 *
 * @typedef {import("nextword/types.js").State} State
 */

import {metadataOf} from "nextword/frames.js";
import {inputIds} from "nextword/state.js";

const DEFAULT_MODEL = "default_model";

/**
 * Where the model comes from; one that was never in a file is whatever the reader calls `lm`.
 *
 * @param {string} file
 * @returns {string}
 */
export function loadCode(file) {
  if (file === "") {
    return "lm";
  }
  return `nextword.load(${file === DEFAULT_MODEL ? "" : pythonString(file)})`;
}

/**
 * A text as Python spells it.
 *
 * @param {string} text
 * @returns {string}
 */
export function pythonString(text) {
  return JSON.stringify(text);
}

/**
 * The model under the changes, and what is asked of it.
 *
 * @param {Readonly<State>} state
 * @param {string} call What follows the model: `.predict("To be")`.
 * @param {(expression: string) => string} [wrap] What stands around both.
 * @returns {string}
 */
export function modelCode(state, call, wrap = (expression) => expression) {
  const {look} = state;
  if (look === null) {
    return "";
  }
  const {model, edits} = metadataOf(look);
  const load = loadCode(model.file);
  const edit = edits.length === 0 ? "" : `.edit(${edits.join(", ")})`;
  // A patch is made from a trace of the model itself, which then needs a name.
  if (edit.includes("lm.") && load !== "lm") {
    return `lm = ${load}\n${wrap(`lm${edit}${call}`)}`;
  }
  return wrap(`${load}${edit}${call}`);
}

/**
 * @param {Readonly<State>} state
 * @param {string} [suffix] What is taken from the trace: `.lens()`.
 * @param {(expression: string) => string} [wrap] What stands around both.
 * @returns {string}
 */
export function traceCode(state, suffix = "", wrap = undefined) {
  return modelCode(state, `.trace(${promptCode(state)})${suffix}`, wrap);
}

/**
 * @param {Readonly<State>} state
 * @returns {string}
 */
export function samplingCode({sampling: {temperature, top_k, top_p, min_p}}) {
  const given = [
    temperature !== 1 && `temperature=${temperature}`,
    top_k !== null && `top_k=${top_k}`,
    top_p !== 1 && `top_p=${top_p}`,
    min_p !== 0 && `min_p=${min_p}`,
  ];
  return `nextword.Sampling(${given.filter(Boolean).join(", ")})`;
}

/**
 * The text; the token ids, where the model or a click wrote some of it: other tokens may spell the same text.
 *
 * @param {Readonly<State>} state
 * @returns {string}
 */
export function promptCode(state) {
  const ids = inputIds(state);
  return ids === null ? pythonString(state.text) : `[${ids.join(", ")}]`;
}
