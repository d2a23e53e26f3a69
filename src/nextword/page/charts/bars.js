// Horizontal bars: a text, a bar, a number. With negative values the bars start from a line in the middle.

import {getOrBuild} from "nextword/charts/redraw.js";
import {el, setAttributes} from "nextword/dom.js";

/**
 * @typedef {object} Bar
 * @property {string | number} key tells a bar from the others when the bars are drawn again
 * @property {string} text
 * @property {number} value
 * @property {number} [reference] a thin mark: the value before a change
 * @property {boolean} [faded]
 * @property {boolean} [chosen]
 */

/**
 * @typedef {object} BarsOptions
 * @property {number} max the value of a full bar
 * @property {(value: number) => string} format
 * @property {((key: string | number) => void) | null} onPick
 * @property {string} label
 * @property {((row: Bar) => string) | null} [describe] a tooltip
 */

/**
 * @typedef {object} BarsParts
 * @property {"bars"} kind
 * @property {HTMLElement} root
 * @property {Map<string, BarParts>} rows
 */

/**
 * @typedef {object} BarParts
 * @property {HTMLElement} item
 * @property {HTMLElement} row
 * @property {HTMLElement} text
 * @property {HTMLElement} fill
 * @property {HTMLElement} mark
 * @property {HTMLElement} value
 * @property {() => void} pick
 */

/** @returns {BarsParts} */
function build() {
  return {kind: "bars", root: el("ul", {class: "bars", role: "list"}), rows: new Map()};
}

/**
 * @param {boolean} button
 * @returns {BarParts}
 */
function buildRow(button) {
  const text = el("span", {class: "bar-text"});
  const fill = el("span", {class: "bar-fill"});
  const mark = el("span", {class: "bar-mark"});
  const value = el("span", {class: "bar-value"});
  const row = button ? el("button", {class: "bar", type: "button"}) : el("div", {class: "bar"});
  row.append(text, el("span", {class: "bar-track"}, fill, mark), value);
  const parts = {item: el("li", {}, row), row, text, fill, mark, value, pick: () => {}};
  row.addEventListener("click", () => parts.pick());
  return parts;
}

/**
 * @param {HTMLElement} container
 * @param {Bar[]} rows
 * @param {BarsOptions} options
 */
export function drawBars(container, rows, options) {
  const parts = getOrBuild(container, "bars", build);
  const signed = rows.some((row) => row.value < 0 || (row.reference ?? 0) < 0);
  const max = options.max > 0 ? options.max : 1;
  parts.root.setAttribute("aria-label", options.label);
  parts.root.classList.toggle("signed", signed);

  /** @param {number} value */
  const share = (value) => Math.min(Math.max(value / max, signed ? -1 : 0), 1) * (signed ? 50 : 100);

  /** @type {Map<string, BarParts>} */
  const drawn = new Map();
  /** @type {HTMLElement[]} */
  const items = [];
  for (const row of rows) {
    const name = `${options.onPick ? "button" : "row"} ${row.key}`;
    const bar = parts.rows.get(name) ?? buildRow(options.onPick !== null);
    drawn.set(name, bar);
    items.push(bar.item);
    bar.pick = () => options.onPick?.(row.key);
    bar.text.textContent = row.text;
    bar.value.textContent = options.format(row.value);
    const width = share(row.value);
    bar.fill.style.setProperty("left", `${signed ? 50 + Math.min(width, 0) : 0}%`);
    bar.fill.style.setProperty("width", `${Math.abs(width)}%`);
    bar.fill.classList.toggle("below", row.value < 0);
    bar.mark.hidden = row.reference === undefined;
    if (row.reference !== undefined) {
      bar.mark.style.setProperty("left", `${(signed ? 50 : 0) + share(row.reference)}%`);
    }
    bar.row.classList.toggle("faded", row.faded ?? false);
    bar.row.classList.toggle("chosen", row.chosen ?? false);
    setAttributes(bar.row, {title: options.describe ? options.describe(row) : row.text});
    if (options.onPick) {
      setAttributes(bar.row, {"aria-pressed": row.chosen ?? false});
    }
  }
  parts.rows = drawn;
  placeItems(parts.root, items);
}

/**
 * Put the items in order, moving only what is not in its place: a moved button would lose the focus.
 * @param {HTMLElement} list
 * @param {HTMLElement[]} items
 */
function placeItems(list, items) {
  const kept = new Set(items);
  for (const child of Array.from(list.children)) {
    if (!kept.has(/** @type {HTMLElement} */ (child))) {
      child.remove();
    }
  }
  items.forEach((item, i) => {
    if (list.children[i] !== item) {
      list.insertBefore(item, list.children[i] ?? null);
    }
  });
}
