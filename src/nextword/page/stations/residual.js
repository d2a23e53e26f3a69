/**
 * How long the residual stream is from layer to layer, and what is added to it.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 */

import {drawLines} from "nextword/charts/lines.js";
import {figure} from "nextword/controls.js";
import {formatNumber} from "nextword/format.js";
import {floats, metadataOf, shape} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {traceCode} from "nextword/python.js";
import {addStation} from "nextword/station.js";
import {tokenLabels} from "nextword/token_text.js";

/** @param {Context} context */
export function addResidual(context) {
  /** @type {ReturnType<typeof figure>} */
  let chart;
  addStation(context, {
    name: "residual",
    title: () => "residual.title",
    what: () => "residual.what",
    keys: ["hover"],
    needsTrace: true,
    python: ({look, ...state}) => {
      if (look === null) {
        return "";
      }
      const norms = "numpy.linalg.norm(trace.residual(layer), axis=-1)";
      const rows = metadataOf(look).model.layers + 1;
      const all = `[${norms} for layer in range(${rows})]`;
      return traceCode({look, ...state}, "", (trace) => `trace = ${trace}\n${all}`);
    },
    build: ({body}) => {
      chart = figure();
      body.append(chart.root);
    },
    draw: (state) => {
      const look = /** @type {Frame} */ (state.look);
      const tokens = tokenLabels(look);
      const position = Math.min(state.hover ?? tokens.length - 1, tokens.length - 1);
      chart.caption.textContent = t("residual.at", {token: tokens[position], position});
      const series = seriesOf(look, position);
      drawLines(chart.place, series, {
        xLabel: t("residual.x"),
        yLabel: t("residual.y"),
        label: t("residual.label"),
        fromZero: true,
        xFormat: (value) => (Number.isInteger(value) ? String(value) : ""),
        describe: (line, index) =>
          t("residual.point", {
            name: series[line].name,
            layer: series[line].x[index],
            value: formatNumber(series[line].y[index], 4),
          }),
      });
    },
  });
}

/**
 * @param {Frame} look
 * @param {number} position
 * @returns {import("nextword/charts/lines.js").Series[]}
 */
function seriesOf(look, position) {
  return [
    {name: t("residual.stream"), ...column(look, "residual_norm", position, 0)},
    {name: t("residual.attention"), ...column(look, "attention_norm", position, 1), dashed: true},
    {name: t("residual.mlp"), ...column(look, "mlp_norm", position, 1), dashed: true},
  ];
}

/**
 * @param {Frame} look
 * @param {string} name
 * @param {number} position
 * @param {number} first How many layers have run at the first row.
 * @returns {{x: number[], y: number[]}}
 */
function column(look, name, position, first) {
  const values = floats(look, name);
  const [rows, count] = shape(look, name);
  const x = Array.from({length: rows}, (_, row) => row + first);
  return {x, y: x.map((_, row) => values[row * count + position])};
}
