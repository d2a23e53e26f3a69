/**
 * What each layer would predict; cells of the second text can be dropped here.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 */

import {drawLensGrid} from "nextword/charts/lens_grid.js";
import {field, select} from "nextword/controls.js";
import {byId, el} from "nextword/dom.js";
import {patchReach, withEdit} from "nextword/edits.js";
import {metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {describeCell, lensData} from "nextword/lens_data.js";
import {traceCode} from "nextword/python.js";
import {addStation} from "nextword/station.js";

/** @param {Context} context */
export function addLens(context) {
  const {store, source} = context;
  /** @type {HTMLElement} */
  let grid;
  /** @type {HTMLElement} */
  let note;
  /** @type {(position: number | null) => void} */
  let highlight = () => {};

  addStation(context, {
    name: "lens",
    title: () => "lens.title",
    what: () => "lens.what",
    keys: ["lensMode", "second", "edits"],
    needsTrace: true,
    python: (state) => traceCode(state, ".lens()"),
    build: ({body, controls}) => {
      grid = el("div");
      note = el("p", {class: "note"});
      body.append(grid, note);
      controls.append(modeSelect(context));
    },
    draw: (state) => {
      const look = /** @type {Frame} */ (state.look);
      highlight = drawLensGrid(grid, lensData(look, state.lensMode), {
        label: t("lens.grid"),
        describe: (row, position) => describeCell(look, row, position),
        onHover: (hover) => store.set({hover}),
        onPick: (row) => openLayer(context, row),
        onDrop: source.live ? (_, position, dragged) => dropCell(context, position, dragged) : null,
        shaded: (row, position) => patchReach(state.edits, row, position) !== null,
        marked: (row, position) => patchReach(state.edits, row, position) === "at",
      }).highlight;
      highlight(state.hover);
      note.textContent = noteText(state);
    },
  });
  store.subscribe(["hover"], () => highlight(store.get().hover));
}

/**
 * @param {Context} context
 * @returns {HTMLElement}
 */
function modeSelect({store}) {
  return field(
    t("lens.mode"),
    select(
      [
        ["probability", t("lens.probability")],
        ["rank", t("lens.rank")],
        ["kl", t("lens.kl")],
      ],
      store.get().lensMode,
      (lensMode) => store.set({lensMode}),
    ),
  );
}

/**
 * @param {Readonly<State>} state
 * @returns {string}
 */
function noteText({edits, second, lensMode}) {
  const parts = [t(`lens.${lensMode}Note`), t("lens.pick")];
  if (second !== null) {
    parts.push(t("lens.drop"));
  }
  if (edits.some((edit) => edit.kind === "patch")) {
    parts.push(t("lens.cone"));
  }
  return parts.join(" ");
}

/**
 * Opens the layer that a row comes out of.
 *
 * @param {Context} context
 * @param {number} row
 */
function openLayer({store}, row) {
  if (row === 0) {
    return;
  }
  store.set({layer: row - 1});
  byId("blocks").scrollIntoView({block: "start"});
}

/**
 * Puts a cell of the second text in the place of this text's: the same row, at the position it was dropped on.
 *
 * @param {Context} context
 * @param {number} position
 * @param {string} dragged
 */
function dropCell({store}, position, dragged) {
  const {second, edits} = store.get();
  if (second === null || second.frame === null) {
    return;
  }
  /** @type {{row: number, position: number}} */
  const from = JSON.parse(dragged);
  const fromIds = metadataOf(second.frame).tokens.map((token) => token.id);
  store.set({
    edits: withEdit(edits, {
      kind: "patch",
      row: from.row,
      position,
      from_ids: fromIds,
      from_position: from.position,
    }),
  });
}
