// Carrying a cell of one lens grid to another: dragged by mouse, or picked up and put down by keyboard or finger.

import {announce, hideTooltip} from "nextword/charts/tooltip.js";

/** @typedef {import("nextword/charts/lens_grid.js").LensParts} LensParts */

const MIME_TYPE = "application/x-nextword-cell";

/** @type {{payload: string, button: HTMLElement} | null} what keyboard or finger has picked up, on the whole page */
let picked = null;

/** Let go of what is held. */
export function release() {
  picked?.button.classList.remove("held");
  document.documentElement.classList.remove("holding");
  picked = null;
}

/**
 * The row and column of the button that an event happened on.
 * @param {Event} event
 * @returns {{button: HTMLElement, row: number, column: number} | null}
 */
export function cellOf(event) {
  const button = event.target instanceof Element ? event.target.closest(".lens-cell") : null;
  if (!(button instanceof HTMLElement)) {
    return null;
  }
  return {button, row: Number(button.dataset.row), column: Number(button.dataset.column)};
}

/**
 * A click or Enter: put down what is held, or pick up, or just open.
 * @param {LensParts} parts
 * @param {HTMLElement} button
 * @param {number} row
 * @param {number} column
 */
export function click(parts, button, row, column) {
  const {options} = parts;
  if (picked && options.onDrop) {
    const {payload} = picked;
    release();
    options.onDrop(row, column, payload);
    return;
  }
  if (options.draggable) {
    const isSameCell = picked?.button === button;
    release();
    if (!isSameCell) {
      picked = {payload: options.draggable(row, column), button};
      button.classList.add("held");
      document.documentElement.classList.add("holding");
      announce(options.held ?? options.label);
    }
  }
  options.onPick(row, column);
}

/** @param {LensParts} parts */
export function addDragListeners(parts) {
  const {table} = parts;
  /** @type {HTMLElement | null} */
  let target = null;
  const leave = () => {
    target?.classList.remove("over");
    target = null;
  };
  table.addEventListener("dragstart", (event) => {
    const cell = cellOf(event);
    if (cell && parts.options.draggable && event.dataTransfer) {
      event.dataTransfer.setData(MIME_TYPE, parts.options.draggable(cell.row, cell.column));
      event.dataTransfer.effectAllowed = "copy";
      document.documentElement.classList.add("holding");
      hideTooltip();
    }
  });
  table.addEventListener("dragend", () => document.documentElement.classList.remove("holding"));
  table.addEventListener("dragover", (event) => {
    const cell = cellOf(event);
    if (cell && parts.options.onDrop && event.dataTransfer?.types.includes(MIME_TYPE)) {
      event.preventDefault();
      leave();
      target = cell.button;
      target.classList.add("over");
      parts.options.onHover(cell.column);
    }
  });
  table.addEventListener("dragleave", leave);
  table.addEventListener("drop", (event) => {
    const cell = cellOf(event);
    leave();
    if (cell && parts.options.onDrop && event.dataTransfer?.types.includes(MIME_TYPE)) {
      event.preventDefault();
      parts.options.onDrop(cell.row, cell.column, event.dataTransfer.getData(MIME_TYPE));
    }
  });
}
