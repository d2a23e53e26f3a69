/** What people read, in their language. */

import {english} from "nextword/texts/en.js";
import {korean} from "nextword/texts/ko.js";

/** @typedef {import("nextword/types.js").Language} Language */
/** @typedef {keyof typeof english} TextKey */

/** @type {Record<Language, Record<TextKey, string>>} */
const TEXTS = {en: english, ko: korean};

/** @type {Language} */
let chosen = "en";

/** @param {Language} language */
export function setLanguage(language) {
  chosen = language;
}

/** @returns {Language} */
export function language() {
  return chosen;
}

/**
 * A text with its places filled in: `{count}` becomes `values.count`.
 *
 * @param {TextKey} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  return TEXTS[chosen][key].replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
}

/**
 * The language to begin with.
 *
 * @param {string | null | undefined} asked
 * @returns {Language}
 */
export function initialLanguage(asked) {
  if (asked === "en" || asked === "ko") {
    return asked;
  }
  return navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en";
}

/**
 * A whole number with its thousands marked.
 *
 * @param {number} value
 * @returns {string}
 */
export function formatInteger(value) {
  return value.toLocaleString(chosen);
}
