// The lens grid: one column a position, one row a layer, the last layer on top. Every cell can be opened and, where the
// grid allows it, dragged to another grid, by mouse or by keyboard (Enter picks up, Enter drops). Cells are no
// <button>s: not every browser lets one drag those.

import {cssColour, sequential, textOn} from "nextword/charts/colour.js";
import {consumeEvent, moveCursor} from "nextword/charts/cursor.js";
import {addDragListeners, cellOf, click, release} from "nextword/charts/drag.js";
import {labelWidth} from "nextword/charts/measure.js";
import {getOrBuild, redrawOnChange, widthOf} from "nextword/charts/redraw.js";
import {anchorTooltip, hideTooltip, isAnchored, showTooltip} from "nextword/charts/tooltip.js";
import {el, setAttributes} from "nextword/dom.js";

/** @typedef {{text: string, value: number, number: string}} Cell */

/**
 * @typedef {object} LensData
 * @property {string[]} rows names of the rows; row 0, what block 0 reads, is drawn at the bottom
 * @property {string[]} columns names of the positions
 * @property {Cell[][]} cells [row][column]; `value` 0..1 is the colour
 */

/**
 * @typedef {object} LensOptions
 * @property {(row: number, column: number) => string} describe
 * @property {(column: number | null) => void} onHover
 * @property {(row: number, column: number) => void} onPick
 * @property {((row: number, column: number, dragged: string) => void) | null} onDrop
 * @property {(row: number, column: number) => string} [draggable] what a cell carries when it is dragged
 * @property {(row: number, column: number) => boolean} [shaded] the cells that a change can reach
 * @property {(row: number, column: number) => boolean} [marked] the cells that were changed
 * @property {string} label
 * @property {string} [held] read out when a cell is picked up by keyboard
 */

/**
 * @typedef {object} LensParts
 * @property {"lens"} kind
 * @property {HTMLElement} root
 * @property {HTMLTableElement} table
 * @property {HTMLTableCellElement[]} heads
 * @property {HTMLElement[]} names of the rows
 * @property {HTMLElement[][]} buttons [row][column]
 * @property {number | null} lit
 * @property {{row: number, column: number}} cursor of the one cell that the Tab key reaches
 * @property {LensData} data
 * @property {LensOptions} options
 */

/**
 * @param {LensData} data
 * @param {LensOptions} options
 * @returns {LensParts}
 */
function build(data, options) {
  const table = el("table", {class: "lens", role: "grid"});
  const root = el("div", {class: "scroll lens-scroll"}, table);
  /** @type {LensParts} */
  const parts = {
    kind: "lens",
    root,
    table,
    heads: [],
    names: [],
    buttons: [],
    lit: null,
    cursor: {row: -1, column: -1},
    data,
    options,
  };
  addListeners(parts);
  return parts;
}

/**
 * One listener a kind of event for the whole table, however many cells it has.
 * @param {LensParts} parts
 */
function addListeners(parts) {
  const {table} = parts;
  const leave = () => {
    hideTooltip();
    parts.options.onHover(null);
  };
  table.addEventListener("pointerover", (event) => {
    const cell = cellOf(event);
    if (cell) {
      parts.options.onHover(cell.column);
      showTooltip(parts.options.describe(cell.row, cell.column), event.clientX, event.clientY);
    } else if (!isAnchored()) {
      leave();
    }
  });
  table.addEventListener("pointerleave", () => isAnchored() || leave());
  table.addEventListener("focusout", leave);
  table.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (cell) {
      setTabStop(parts, cell.row, cell.column);
      if (cell.button.matches(":focus-visible")) {
        parts.options.onHover(cell.column);
        anchorTooltip(parts.options.describe(cell.row, cell.column), () => {
          const box = cell.button.getBoundingClientRect();
          return {x: box.right - 8, y: box.bottom - 8};
        });
      }
    }
  });
  table.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (event.key === "Escape") {
      release();
    } else if (cell && (event.key === "Enter" || event.key === " ")) {
      consumeEvent(event);
      click(parts, cell.button, cell.row, cell.column);
    } else if (moveCursor(event, parts.cursor, parts.data.rows.length, parts.data.columns.length, true)) {
      consumeEvent(event);
      parts.buttons[parts.cursor.row]?.[parts.cursor.column]?.focus();
    }
  });
  table.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (cell) {
      click(parts, cell.button, cell.row, cell.column);
    }
  });
  addDragListeners(parts);
}

/**
 * Make one cell the one that Tab comes to.
 * @param {LensParts} parts
 * @param {number} row
 * @param {number} column
 */
function setTabStop(parts, row, column) {
  parts.buttons[parts.cursor.row]?.[parts.cursor.column]?.setAttribute("tabindex", "-1");
  parts.cursor.row = row;
  parts.cursor.column = column;
  parts.buttons[row]?.[column]?.setAttribute("tabindex", "0");
}

/** @param {LensParts} parts */
function buildCells(parts) {
  const {rows, columns} = parts.data;
  parts.heads = columns.map(() => el("th", {class: "lens-head", scope: "col"}));
  parts.names = rows.map(() => el("th", {class: "lens-name", scope: "row"}));
  parts.buttons = rows.map((_, row) =>
    columns.map((_, column) =>
      el(
        "div",
        {class: "lens-cell", role: "button", tabindex: -1, "data-row": row, "data-column": column},
        el("span", {class: "lens-text"}),
        el("span", {class: "lens-number"}),
      ),
    ),
  );
  const lines = rows.map((_, row) =>
    el("tr", {}, parts.names[row], ...parts.buttons[row].map((button) => el("td", {}, button))),
  );
  const head = el("thead", {}, el("tr", {}, el("td", {class: "lens-corner"}), ...parts.heads));
  parts.table.replaceChildren(head, el("tbody", {}, ...lines.reverse()));
  setTabStop(parts, rows.length - 1, columns.length - 1);
}

/**
 * A region of shaded cells has a line around it: an edge where the neighbour does not belong to it.
 * @param {HTMLElement} cell
 * @param {(row: number, column: number) => boolean} inside
 * @param {number} row
 * @param {number} column
 */
function outline(cell, inside, row, column) {
  const here = inside(row, column);
  cell.classList.toggle("shaded", here);
  cell.classList.toggle("edge-top", here && !inside(row + 1, column));
  cell.classList.toggle("edge-bottom", here && !inside(row - 1, column));
  cell.classList.toggle("edge-left", here && !inside(row, column - 1));
  cell.classList.toggle("edge-right", here && !inside(row, column + 1));
}

/**
 * Cells share the width of the container while they stay legible; below that the grid scrolls.
 * @param {LensParts} parts
 * @param {HTMLElement} container
 */
function setCellWidth(parts, container) {
  const room = widthOf(container) - labelWidth(parts.data.rows, 120) - 14;
  const cell = Math.floor(room / Math.max(parts.data.columns.length, 1)) - 1;
  parts.table.style.setProperty("--cell", `${Math.min(112, Math.max(64, cell))}px`);
}

/** @param {LensParts} parts */
function fillCells(parts) {
  const {data, options} = parts;
  /**
   * @param {number} row
   * @param {number} column
   */
  const shaded = (row, column) =>
    row >= 0 &&
    column >= 0 &&
    row < data.rows.length &&
    column < data.columns.length &&
    (options.shaded?.(row, column) ?? false);
  parts.heads.forEach((head, column) => (head.textContent = data.columns[column]));
  parts.names.forEach((name, row) => (name.textContent = data.rows[row]));
  parts.buttons.forEach((line, row) =>
    line.forEach((button, column) => {
      const {text, value, number} = data.cells[row][column];
      const colour = sequential(value);
      const [first, second] = Array.from(button.children);
      first.textContent = text;
      second.textContent = number;
      button.style.setProperty("background-color", cssColour(colour));
      button.style.setProperty("color", textOn(colour));
      outline(button, shaded, row, column);
      button.classList.toggle("marked", options.marked?.(row, column) ?? false);
      setAttributes(button, {draggable: options.draggable ? "true" : null});
    }),
  );
}

/**
 * @param {HTMLElement} container
 * @param {LensData} data
 * @param {LensOptions} options
 * @returns {{highlight: (column: number | null) => void}}
 */
export function drawLensGrid(container, data, options) {
  const parts = getOrBuild(container, "lens", () => build(data, options));
  parts.data = data;
  parts.options = options;
  parts.table.setAttribute("aria-label", options.label);
  if (parts.buttons.length !== data.rows.length || parts.heads.length !== data.columns.length) {
    buildCells(parts);
  }
  const redraw = () => {
    setCellWidth(parts, container);
    fillCells(parts);
  };
  redraw();
  redrawOnChange(container, redraw);

  /** @param {number | null} column */
  const highlight = (column) => {
    /**
     * @param {number | null} at
     * @param {boolean} on
     */
    const light = (at, on) => {
      if (at !== null) {
        parts.heads[at]?.classList.toggle("lit", on);
        parts.buttons.forEach((line) => line[at]?.classList.toggle("lit", on));
      }
    };
    light(parts.lit, false);
    parts.lit = column;
    light(parts.lit, true);
  };
  highlight(parts.lit);
  return {highlight};
}
