/**
 * The logit lens of a look frame, as the grid draws it.
 *
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/charts/lens_grid.js").LensData} LensData
 */

import {formatNumber, formatPercent} from "nextword/format.js";
import {floats, ids, metadataOf, shape} from "nextword/frames.js";
import {formatInteger, t} from "nextword/i18n.js";
import {labelOfId, tokenLabels} from "nextword/token_text.js";

/**
 * @param {Frame} look
 * @returns {string[]}
 */
function rowNames(look) {
  const {layers} = metadataOf(look).model;
  return [t("lens.in"), ...Array.from({length: layers}, (_, layer) => String(layer))];
}

/**
 * @param {Frame} look
 * @param {State["lensMode"]} mode
 * @returns {LensData}
 */
export function lensData(look, mode) {
  const [rows, count, top] = shape(look, "lens_ids");
  const topIds = ids(look, "lens_ids");
  const measure = MEASURES[mode](look, top);
  const cells = Array.from({length: rows}, (_, row) =>
    Array.from({length: count}, (_, position) => {
      const cell = row * count + position;
      return {text: labelOfId(look, topIds[cell * top]), ...measure(cell)};
    }),
  );
  return {rows: rowNames(look), columns: tokenLabels(look), cells};
}

/**
 * What colours a cell: its number, and that number as a share, 1 for what is nearest to the final prediction.
 *
 * @type {Record<State["lensMode"], (look: Frame, top: number) => (cell: number) => {value: number, number: string}>}
 */
const MEASURES = {
  probability: (look, top) => {
    const probability = floats(look, "lens_probability");
    return (cell) => ({value: probability[cell * top], number: formatPercent(probability[cell * top])});
  },
  rank: (look) => {
    const rank = ids(look, "lens_rank");
    const logVocabSize = Math.log(metadataOf(look).model.vocab_size);
    return (cell) => ({value: 1 - Math.log(rank[cell]) / logVocabSize, number: `#${formatInteger(rank[cell])}`});
  },
  kl: (look) => {
    const kl = floats(look, "lens_kl");
    return (cell) => ({value: Math.exp(-kl[cell]), number: formatNumber(kl[cell])});
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
    return `${labelOfId(look, best[cell * top + place])}\t${formatPercent(probability)}`;
  });
  return [
    t("lens.cell", {token: tokenLabels(look)[position], row: rowNames(look)[row]}),
    ...lines,
    `${t("lens.rankLine", {token: labelOfId(look, final)})}\t${formatInteger(ids(look, "lens_rank")[cell])}`,
    `${t("lens.klLine")}\t${t("lens.nats", {value: formatNumber(floats(look, "lens_kl")[cell])})}`,
    `${t("lens.entropyLine")}\t${t("lens.nats", {value: formatNumber(floats(look, "lens_entropy")[cell])})}`,
  ].join("\n");
}
