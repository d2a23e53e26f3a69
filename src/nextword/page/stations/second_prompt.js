/**
 * A second text with a lens of its own: its cells can be dragged onto the first text's lens.
 *
 * @typedef {import("nextword/types.js").Context} Context
 */

import {drawLensGrid} from "nextword/charts/lens_grid.js";
import {byId, el} from "nextword/dom.js";
import {metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {describeCell, lensData} from "nextword/lens_data.js";
import {loadCode, pythonString} from "nextword/python.js";
import {addStation} from "nextword/station.js";

/** @param {Context} context */
export function addSecondPrompt(context) {
  const {source, traceLoader} = context;
  /** @type {HTMLTextAreaElement} */
  let input;
  /** @type {HTMLElement} */
  let grid;
  /** @type {HTMLElement} */
  let comparison;
  /** @type {HTMLElement} */
  let note;
  /** @type {HTMLButtonElement} */
  let openButton;

  // Beside the lens that its cells are dragged to: both grids must be in sight.
  byId("lens").after(byId("second"));
  addStation(context, {
    name: "second",
    title: () => "second.title",
    what: () => "second.what",
    keys: ["second", "lensMode"],
    needsTrace: false,
    python: ({second, look}) => {
      if (second === null || look === null) {
        return "";
      }
      return `${loadCode(metadataOf(look).model.file)}.trace(${pythonString(second.text)}).lens()`;
    },
    build: ({body}) => {
      input = el("textarea", {rows: 1, spellcheck: "false", autocomplete: "off"});
      input.addEventListener("input", () => traceLoader.setSecondPrompt(input.value));
      openButton = el("button", {class: "quiet", type: "button", disabled: !source.live}, t("second.open"));
      openButton.addEventListener("click", () => {
        traceLoader.setSecondPrompt(t("second.example"));
        input.focus();
      });
      const close = el("button", {class: "quiet", type: "button"}, t("second.close"));
      close.addEventListener("click", () => traceLoader.setSecondPrompt(null));
      grid = el("div");
      note = el("p", {class: "note"});
      const text = el("label", {class: "prompt"}, el("span", {}, t("second.label")), input);
      comparison = el("div", {class: "stack"}, text, close, grid);
      body.append(openButton, comparison, note);
    },
    draw: ({second, lensMode, error}) => {
      openButton.hidden = second !== null;
      comparison.hidden = second === null;
      note.textContent = source.live ? "" : t("file.text");
      if (second === null) {
        return;
      }
      if (input.value !== second.text) {
        input.value = second.text;
      }
      const {frame} = second;
      grid.hidden = frame === null;
      const isPending = second.text !== "" && error === null; // what went wrong is said above
      note.textContent = frame === null ? (isPending ? t("second.busy") : "") : t("second.hint");
      if (frame === null) {
        return;
      }
      drawLensGrid(grid, lensData(frame, lensMode), {
        label: t("second.grid"),
        held: t("second.held"),
        describe: (row, position) => describeCell(frame, row, position),
        onHover: () => {},
        onPick: () => {},
        onDrop: null,
        draggable: (row, position) => JSON.stringify({row, position}),
      });
    },
  });
}
