/**
 * What the first layer reads: the tokens' rows of the table, and their positions.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/i18n.js").TextKey} TextKey
 */

import {drawHeatmap} from "nextword/charts/heatmap.js";
import {drawLegend} from "nextword/charts/legend.js";
import {figure} from "nextword/controls.js";
import {el} from "nextword/dom.js";
import {formatNumber} from "nextword/format.js";
import {floats, has, limit, metadataOf, shape} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {traceCode} from "nextword/python.js";
import {addStation} from "nextword/station.js";
import {RopeView} from "nextword/stations/rope.js";
import {tokenLabels} from "nextword/token_text.js";

/** @type {["embed" | "position" | "combined", TextKey][]} */
const PICTURES = [
  ["embed", "embedding.embed"],
  ["position", "embedding.position"],
  ["combined", "embedding.combined"],
];
const HEIGHT = 210;

/** @param {Context} context */
export function addEmbedding(context) {
  const {store} = context;
  const ropeView = new RopeView(context);
  /** @type {Map<string, ReturnType<typeof figure>>} */
  const places = new Map();
  /** @type {HTMLElement} */
  let scale;
  /** @type {HTMLElement} */
  let rope;
  /** @type {((position: number | null) => void)[]} */
  let highlights = [];
  /** @type {Frame | null} What is on the page: a hovered token needs no new pictures. */
  let drawnLook = null;
  let drawnLanguage = "";

  addStation(context, {
    name: "embedding",
    title: ({look}) => (isRotary(look) ? "embedding.titleRotary" : "embedding.title"),
    what: ({look}) => (isRotary(look) ? "embedding.whatRotary" : "embedding.what"),
    keys: ["hover"],
    needsTrace: true,
    python: (state) => traceCode(state, isRotary(state.look) ? '["embed"]' : ".residual(0)"),
    build: ({body, controls}) => {
      for (const [name, key] of PICTURES) {
        places.set(name, figure(t(key)));
      }
      scale = el("div");
      rope = ropeView.build();
      const [embed, position, combined] = PICTURES.map(([name]) => /** @type {any} */ (places.get(name)).root);
      body.append(embed, position, combined, rope);
      controls.append(scale);
    },
    draw: (state) => {
      const look = /** @type {Frame} */ (state.look);
      if (drawnLook !== look || drawnLanguage !== state.lang) {
        highlights = drawAll(look, places, scale, (hover) => store.set({hover}));
        rope.hidden = !isRotary(look);
        if (!rope.hidden) {
          ropeView.draw();
        }
        [drawnLook, drawnLanguage] = [look, state.lang];
      }
      for (const highlight of highlights) {
        highlight(state.hover);
      }
      ropeView.highlight(state.hover);
    },
  });
}

/**
 * @param {Frame | null} look
 * @returns {boolean}
 */
function isRotary(look) {
  return look !== null && metadataOf(look).model.position === "rotary";
}

/**
 * @param {Frame} look
 * @param {Map<string, ReturnType<typeof figure>>} places
 * @param {HTMLElement} scale
 * @param {(position: number | null) => void} onHover
 * @returns {((position: number | null) => void)[]}
 */
function drawAll(look, places, scale, onHover) {
  const shown = PICTURES.filter(([name]) => has(look, name) && !(name === "combined" && sameAsEmbed(look)));
  const limitOfAll = limit(...shown.map(([name]) => floats(look, name)));
  const tokens = tokenLabels(look);
  drawLegend(scale, {left: formatNumber(-limitOfAll), middle: "0", right: formatNumber(limitOfAll)});
  for (const [name] of PICTURES) {
    const place = places.get(name);
    if (place) {
      place.root.hidden = !shown.some(([other]) => other === name);
    }
  }
  return shown.map(([name, key]) => {
    const [rows, columns] = shape(look, name);
    const {place} = /** @type {ReturnType<typeof figure>} */ (places.get(name));
    return drawHeatmap(
      place,
      {values: floats(look, name), rows, columns, labels: tokens, limit: limitOfAll},
      {
        height: HEIGHT,
        label: t("embedding.heatmap", {name: t(key), rows, columns}),
        describe: (row, column, value) =>
          t("embedding.cell", {token: tokens[row], column, value: formatNumber(value, 4)}),
        onHover: (row) => onHover(row),
      },
    ).highlight;
  });
}

/**
 * Whether the first layer reads the embeddings as they are: a rotary model whose embeddings were not changed.
 *
 * @param {Frame} look
 * @returns {boolean}
 */
function sameAsEmbed(look) {
  const embed = floats(look, "embed");
  return !has(look, "position") && floats(look, "combined").every((value, i) => value === embed[i]);
}
