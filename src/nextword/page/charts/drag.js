// Carrying a cell of one lens grid to another: dragged by mouse, or picked up and put down by keyboard or finger.

import {announce, hideTooltip} from "nextword/charts/tooltip.js";

/** @typedef {import("nextword/charts/lens_grid.js").LensParts} LensParts */

const MIME_TYPE = "application/x-nextword-cell";

/** @type {{what: string, button: HTMLElement} | null} what the keyboard or a finger has picked up, on the whole page */
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
    const {what} = picked;
    release();
    options.onDrop(row, column, what);
    return;
  }
  if (options.draggable) {
    const again = picked?.button === button;
    release();
    if (!again) {
      picked = {what: options.draggable(row, column), button};
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
  let under = null;
  const out = () => {
    under?.classList.remove("over");
    under = null;
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
      out();
      under = cell.button;
      under.classList.add("over");
      parts.options.onHover(cell.column);
    }
  });
  table.addEventListener("dragleave", out);
  table.addEventListener("drop", (event) => {
    const cell = cellOf(event);
    out();
    if (cell && parts.options.onDrop && event.dataTransfer?.types.includes(MIME_TYPE)) {
      event.preventDefault();
      parts.options.onDrop(cell.row, cell.column, event.dataTransfer.getData(MIME_TYPE));
    }
  });
}
