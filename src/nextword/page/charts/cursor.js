// Looking around in a picture that is one element: with the pointer, with a finger, with the arrow keys.

import {anchorTooltip, announce, hideTooltip, isAnchored, showTooltip} from "nextword/charts/tooltip.js";

/**
 * @typedef {object} Grid
 * @property {number} rows
 * @property {number} columns
 * @property {(event: PointerEvent | MouseEvent) => [number, number] | null} at the cell under the pointer
 * @property {(row: number, column: number) => {x: number, y: number}} where its middle, in the window
 * @property {(row: number, column: number) => string} describe
 * @property {(row: number | null, column: number | null) => void} enter
 * @property {(row: number, column: number) => void} [reveal] scroll a cell into view, for the arrow keys
 */

/** @type {WeakMap<Element, {grid: Grid, row: number, column: number}>} */
const cursors = new WeakMap();

/**
 * Make an element explorable; calling again changes what there is to see.
 * @param {HTMLElement | SVGElement} element
 * @param {string} label what the picture shows, for screen readers
 * @param {Grid} grid
 */
export function addCursor(element, label, grid) {
  element.setAttribute("aria-label", label);
  const known = cursors.get(element);
  if (known) {
    known.grid = grid;
    return;
  }
  const state = {grid, row: 0, column: 0};
  cursors.set(element, state);
  element.setAttribute("tabindex", "0");
  // With any other role a screen reader keeps the arrow keys to itself.
  element.setAttribute("role", "application");

  /**
   * @param {number} row
   * @param {number} column
   * @param {number} x
   * @param {number} y
   */
  const show = (row, column, x, y) => {
    state.row = row;
    state.column = column;
    state.grid.enter(row, column);
    showTooltip(state.grid.describe(row, column), x, y);
  };
  const leave = () => {
    state.grid.enter(null, null);
    hideTooltip();
  };
  /** @param {any} event */
  const moveToPointer = (event) => {
    const cell = state.grid.at(event);
    if (cell) {
      show(cell[0], cell[1], event.clientX, event.clientY);
    } else {
      leave();
    }
  };
  const moveToCell = () => {
    const row = Math.min(state.row, state.grid.rows - 1);
    const column = Math.min(state.column, state.grid.columns - 1);
    if (row < 0 || column < 0) {
      return;
    }
    state.grid.reveal?.(row, column);
    state.row = row;
    state.column = column;
    state.grid.enter(row, column);
    const text = state.grid.describe(row, column);
    anchorTooltip(text, () => state.grid.where(row, column));
    announce(text);
  };
  element.addEventListener("pointermove", moveToPointer);
  element.addEventListener("pointerdown", moveToPointer);
  element.addEventListener("pointerleave", () => isAnchored() || leave());
  element.addEventListener("pointercancel", () => isAnchored() || leave());
  element.addEventListener("blur", leave);
  element.addEventListener("focus", () => {
    if (element.matches(":focus-visible")) {
      moveToCell();
    }
  });
  element.addEventListener("keydown", (event) => {
    const {rows, columns} = state.grid;
    if (moveCursor(/** @type {KeyboardEvent} */ (event), state, rows, columns)) {
      consumeEvent(event);
      moveToCell();
    }
  });
}

/**
 * A key that a picture has answered means nothing to the page: there arrow keys step through the text.
 * @param {Event} event
 */
export function consumeEvent(event) {
  event.preventDefault();
  event.stopPropagation();
}

/**
 * Move a place in a grid as a key says. False where the key means nothing.
 * @param {KeyboardEvent} event
 * @param {{row: number, column: number}} cursor
 * @param {number} rows
 * @param {number} columns
 * @param {boolean} [upwards] row 0 is drawn at the bottom
 * @returns {boolean}
 */
export function moveCursor(event, cursor, rows, columns, upwards = false) {
  if (event.altKey || event.metaKey) {
    return false;
  }
  const [first, last] = upwards ? [rows - 1, 0] : [0, rows - 1];
  const down = upwards ? -1 : 1;
  const page = 10;
  let {row, column} = cursor;
  switch (event.key) {
    case "ArrowLeft":
      column -= 1;
      break;
    case "ArrowRight":
      column += 1;
      break;
    case "ArrowUp":
      row -= down;
      break;
    case "ArrowDown":
      row += down;
      break;
    case "PageUp":
      row -= down * page;
      break;
    case "PageDown":
      row += down * page;
      break;
    case "Home":
      column = 0;
      row = event.ctrlKey ? first : row;
      break;
    case "End":
      column = columns - 1;
      row = event.ctrlKey ? last : row;
      break;
    default:
      return false;
  }
  cursor.row = Math.min(Math.max(row, 0), rows - 1);
  cursor.column = Math.min(Math.max(column, 0), columns - 1);
  return true;
}
