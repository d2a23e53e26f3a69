/**
 * What each layer would predict; cells of the second text can be dropped here.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 */

import {drawLensGrid} from "nextword/charts/lens_grid.js";
import {el} from "nextword/dom.js";
import {patched, withEdit} from "nextword/edits.js";
import {t} from "nextword/i18n.js";
import {describeCell, lensData} from "nextword/lens_data.js";
import {traceOf} from "nextword/python.js";
import {addStation, field, section, select} from "nextword/station.js";
import {aboutOf} from "nextword/words.js";

/** @param {Context} context */
export function addLens(context) {
  const {store, source} = context;
  /** @type {HTMLElement} */
  let grid;
  /** @type {HTMLElement} */
  let note;
  /** @type {(position: number | null) => void} */
  let light = () => {};

  addStation(context, {
    name: "lens",
    title: () => "lens.title",
    what: () => "lens.what",
    keys: ["lensMode", "second", "edits"],
    needsLook: true,
    python: (state) => traceOf(state, ".lens()"),
    build: ({body, controls}) => {
      grid = el("div");
      note = el("p", {class: "note"});
      body.append(grid, note);
      controls.append(modes(context));
    },
    draw: (state) => {
      const look = /** @type {Frame} */ (state.look);
      light = drawLensGrid(grid, lensData(look, state.lensMode), {
        label: t("lens.grid"),
        describe: (row, position) => describeCell(look, row, position),
        onHover: (hover) => store.set({hover}),
        onPick: (row) => open(context, row),
        onDrop: source.live ? (_, position, dragged) => drop(context, position, dragged) : null,
        draggable: null,
        shaded: (row, position) => patched(state.edits, row, position) !== null,
        marked: (row, position) => patched(state.edits, row, position) === "at",
      }).highlight;
      light(state.hover);
      note.textContent = noteOf(state);
    },
  });
  store.subscribe(["hover"], () => light(store.get().hover));
}

/**
 * @param {Context} context
 * @returns {HTMLElement}
 */
function modes({store}) {
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
function noteOf({edits, second, lensMode}) {
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
function open({store}, row) {
  if (row === 0) {
    return;
  }
  store.set({layer: row - 1});
  section("blocks").scrollIntoView({block: "start"});
}

/**
 * Puts a cell of the second text in the place of this text's: the same row, at the position it was dropped on.
 *
 * @param {Context} context
 * @param {number} position
 * @param {string} dragged
 */
function drop({store}, position, dragged) {
  const {second, edits} = store.get();
  if (second === null || second.frame === null) {
    return;
  }
  /** @type {{row: number, position: number}} */
  const from = JSON.parse(dragged);
  const fromIds = aboutOf(second.frame).tokens.map((token) => token.id);
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
