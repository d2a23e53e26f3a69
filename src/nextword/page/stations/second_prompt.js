/**
 * A second text with a lens of its own: its cells can be dragged onto the first text's lens.
 *
 * @typedef {import("nextword/types.js").Context} Context
 */

import {drawLensGrid} from "nextword/charts/lens_grid.js";
import {el} from "nextword/dom.js";
import {metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {describeCell, lensData} from "nextword/lens_data.js";
import {loadCode, pythonString} from "nextword/python.js";
import {addStation, section} from "nextword/station.js";

/** @param {Context} context */
export function addSecondPrompt(context) {
  const {source, traceLoader} = context;
  /** @type {HTMLTextAreaElement} */
  let input;
  /** @type {HTMLElement} */
  let grid;
  /** @type {HTMLElement} */
  let opened;
  /** @type {HTMLElement} */
  let note;
  /** @type {HTMLButtonElement} */
  let open;

  // Beside the lens that its cells are dragged to: both grids must be in sight.
  section("lens").after(section("second"));
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
      open = el("button", {class: "quiet", type: "button", disabled: !source.live}, t("second.open"));
      open.addEventListener("click", () => {
        traceLoader.setSecondPrompt(t("second.example"));
        input.focus();
      });
      const close = el("button", {class: "quiet", type: "button"}, t("second.close"));
      close.addEventListener("click", () => traceLoader.setSecondPrompt(null));
      grid = el("div");
      note = el("p", {class: "note"});
      const text = el("label", {class: "prompt"}, el("span", {}, t("second.label")), input);
      opened = el("div", {class: "stack"}, text, close, grid);
      body.append(open, opened, note);
    },
    draw: ({second, lensMode, error}) => {
      open.hidden = second !== null;
      opened.hidden = second === null;
      note.textContent = source.live ? "" : t("file.text");
      if (second === null) {
        return;
      }
      if (input.value !== second.text) {
        input.value = second.text;
      }
      const {frame} = second;
      grid.hidden = frame === null;
      const waits = second.text !== "" && error === null; // what went wrong is said above
      note.textContent = frame === null ? (waits ? t("second.busy") : "") : t("second.hint");
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
        shaded: null,
        marked: () => false,
      });
    },
  });
}
