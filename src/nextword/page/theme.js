// Light or dark: as the system has it, or as the reader has chosen.

import {byId} from "nextword/dom.js";

const STORAGE_KEY = "nextword-theme";
const SYSTEM = "screen and (prefers-color-scheme: dark)";
const WHERE_DARK = new Map([["dark", "screen"], ["light", "not all"]]);

/** The choice of colours, remembered where the browser keeps things. */
export function addTheme() {
  const choice = /** @type {HTMLSelectElement} */ (byId("theme"));
  const dark = darkRule();
  const set = (/** @type {string} */ theme) => {
    if (dark) dark.media.mediaText = WHERE_DARK.get(theme) ?? SYSTEM;
    document.documentElement.setAttribute("data-theme", theme); // pictures are drawn again when it changes
  };
  choice.value = storedTheme() ?? "auto";
  set(choice.value);
  choice.addEventListener("change", () => {
    set(choice.value);
    try {
      localStorage.setItem(STORAGE_KEY, choice.value);
    } catch {
      // A browser that keeps nothing shows the theme until the page is left.
    }
  });
}

/**
 * The rule of style.css that holds the dark colours, which stand there once; extensions of the browser add sheets too.
 * @returns {CSSMediaRule | undefined}
 */
function darkRule() {
  for (const sheet of document.styleSheets) {
    try {
      for (const rule of sheet.cssRules) {
        if (rule instanceof CSSMediaRule && rule.media.mediaText === SYSTEM) return rule;
      }
    } catch {
      // A sheet from elsewhere, which no script may read.
    }
  }
  return undefined;
}

/** @returns {string | null} */
function storedTheme() {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null;
  }
}
