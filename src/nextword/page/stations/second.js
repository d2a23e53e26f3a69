/**
 * A second text with a lens of its own: its cells can be dragged onto the first text's lens.
 *
 * @typedef {import("nextword/types.js").Context} Context
 */

import {drawLensGrid} from "nextword/charts/lens_grid.js";
import {el} from "nextword/dom.js";
import {t} from "nextword/i18n.js";
import {describeCell, lensData} from "nextword/lens_data.js";
import {loadOf, quoted} from "nextword/python.js";
import {addStation, section} from "nextword/station.js";
import {aboutOf} from "nextword/words.js";

/** @param {Context} context */
export function addSecond(context) {
  const {source, looking} = context;
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
    needsLook: false,
    python: ({second, look}) => {
      if (second === null || look === null) {
        return "";
      }
      return `${loadOf(aboutOf(look).model.file)}.trace(${quoted(second.text)}).lens()`;
    },
    build: ({body}) => {
      input = el("textarea", {rows: 1, spellcheck: "false", autocomplete: "off"});
      input.addEventListener("input", () => looking.second(input.value));
      open = el("button", {class: "quiet", type: "button", disabled: !source.live}, t("second.open"));
      open.addEventListener("click", () => {
        looking.second(t("second.example"));
        input.focus();
      });
      const close = el("button", {class: "quiet", type: "button"}, t("second.close"));
      close.addEventListener("click", () => looking.second(null));
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
