/**
 * The logit lens of a look frame, as the grid draws it.
 *
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/charts/lens_grid.js").LensData} LensData
 */

import {number, percent} from "nextword/dom.js";
import {t, whole} from "nextword/i18n.js";
import {floats, ids, shape} from "nextword/tensors.js";
import {aboutOf, labels, named} from "nextword/words.js";

/**
 * @param {Frame} look
 * @returns {string[]}
 */
function rowNames(look) {
  const {layers} = aboutOf(look).model;
  return [t("lens.in"), ...Array.from({length: layers}, (_, layer) => String(layer))];
}

/**
 * @param {Frame} look
 * @param {State["lensMode"]} mode
 * @returns {LensData}
 */
export function lensData(look, mode) {
  const [rows, count, top] = shape(look, "lens_ids");
  const best = ids(look, "lens_ids");
  const measure = MEASURES[mode](look, top);
  const cells = Array.from({length: rows}, (_, row) =>
    Array.from({length: count}, (_, position) => {
      const cell = row * count + position;
      return {text: named(look, best[cell * top]), ...measure(cell)};
    }),
  );
  return {rows: rowNames(look), columns: labels(look), cells};
}

/**
 * What colours a cell: its number, and that number as a share, 1 for what is nearest to the final prediction.
 *
 * @type {Record<State["lensMode"], (look: Frame, top: number) => (cell: number) => {value: number, number: string}>}
 */
const MEASURES = {
  probability: (look, top) => {
    const probability = floats(look, "lens_probability");
    return (cell) => ({value: probability[cell * top], number: percent(probability[cell * top])});
  },
  rank: (look) => {
    const rank = ids(look, "lens_rank");
    const last = Math.log(aboutOf(look).model.vocab_size);
    return (cell) => ({value: 1 - Math.log(rank[cell]) / last, number: `#${whole(rank[cell])}`});
  },
  kl: (look) => {
    const kl = floats(look, "lens_kl");
    return (cell) => ({value: Math.exp(-kl[cell]), number: number(kl[cell])});
  },
};

/**
 * The most probable tokens of a cell, and what else is measured there; a line each, numbers behind a tab.
 *
 * @param {Frame} look
 * @param {number} row
 * @param {number} position
 * @returns {string}
 */
export function describeCell(look, row, position) {
  const [rows, count, top] = shape(look, "lens_ids");
  const cell = row * count + position;
  const best = ids(look, "lens_ids");
  const final = best[((rows - 1) * count + position) * top];
  const lines = Array.from({length: top}, (_, place) => {
    const probability = floats(look, "lens_probability")[cell * top + place];
    return `${named(look, best[cell * top + place])}\t${percent(probability)}`;
  });
  return [
    t("lens.cell", {token: labels(look)[position], row: rowNames(look)[row]}),
    ...lines,
    `${t("lens.rankLine", {token: named(look, final)})}\t${whole(ids(look, "lens_rank")[cell])}`,
    `${t("lens.klLine")}\t${t("lens.nats", {value: number(floats(look, "lens_kl")[cell])})}`,
    `${t("lens.entropyLine")}\t${t("lens.nats", {value: number(floats(look, "lens_entropy")[cell])})}`,
  ].join("\n");
}
