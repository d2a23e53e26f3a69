/**
 * The Python that makes a picture, with the text and the choices of the page filled in.
 *
 * @typedef {import("nextword/types.js").State} State
 */

import {idsOf} from "nextword/state.js";
import {aboutOf} from "nextword/words.js";

const DEFAULT_MODEL = "default_model";

/**
 * Where the model comes from; one that was never in a file is whatever the reader calls `lm`.
 *
 * @param {string} file
 * @returns {string}
 */
export function loadOf(file) {
  if (file === "") {
    return "lm";
  }
  return `nextword.load(${file === DEFAULT_MODEL ? "" : quoted(file)})`;
}

/**
 * A text as Python spells it.
 *
 * @param {string} text
 * @returns {string}
 */
export function quoted(text) {
  return JSON.stringify(text);
}

/**
 * The model under the changes, and what is asked of it.
 *
 * @param {Readonly<State>} state
 * @param {string} asked What follows the model: `.predict("To be")`.
 * @param {(expression: string) => string} [within] What stands around both.
 * @returns {string}
 */
export function pythonOf(state, asked, within = (expression) => expression) {
  const {look} = state;
  if (look === null) {
    return "";
  }
  const {model, edits} = aboutOf(look);
  const load = loadOf(model.file);
  const edit = edits.length === 0 ? "" : `.edit(${edits.join(", ")})`;
  // A patch is made from a trace of the model itself, which then needs a name.
  if (edit.includes("lm.") && load !== "lm") {
    return `lm = ${load}\n${within(`lm${edit}${asked}`)}`;
  }
  return within(`${load}${edit}${asked}`);
}

/**
 * @param {Readonly<State>} state
 * @param {string} [view] What is taken from the trace: `.lens()`.
 * @param {(expression: string) => string} [within] What stands around both.
 * @returns {string}
 */
export function traceOf(state, view = "", within = undefined) {
  return pythonOf(state, `.trace(${promptOf(state)})${view}`, within);
}

/**
 * @param {Readonly<State>} state
 * @returns {string}
 */
export function samplingOf({sampling: {temperature, top_k, top_p, min_p}}) {
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
export function promptOf(state) {
  const ids = idsOf(state);
  return ids === null ? quoted(state.text) : `[${ids.join(", ")}]`;
}
