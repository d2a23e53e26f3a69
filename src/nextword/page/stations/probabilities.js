/**
 * From logits to the distribution that a token is drawn from. Sliders work on the stored logits.
 *
 * @typedef {import("nextword/types.js").Candidate} Candidate
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/sampling.js").Stages} Stages
 * @typedef {import("nextword/charts/bars.js").Bar} Bar
 */

import {drawBars} from "nextword/charts/bars.js";
import {figure} from "nextword/controls.js";
import {el} from "nextword/dom.js";
import {formatNumber, formatPercent} from "nextword/format.js";
import {floats} from "nextword/frames.js";
import {formatInteger, t} from "nextword/i18n.js";
import {modelCode, promptCode, samplingCode} from "nextword/python.js";
import {samplingStages, softmax, topK} from "nextword/sampling.js";
import {addStation} from "nextword/station.js";
import {SamplingControls} from "nextword/stations/sampling_controls.js";
import {labelOfId, showWhitespace} from "nextword/token_text.js";

/** @typedef {ReturnType<typeof figure>} Figure */

const TOP = 20;

/** @param {Context} context */
export function addProbabilities(context) {
  const controls = new SamplingControls(context);
  /** @type {Figure[]} */
  let figures = [];
  /** @type {HTMLElement} */
  let note;

  addStation(context, {
    name: "probabilities",
    title: () => "probabilities.title",
    what: () => "probabilities.what",
    keys: ["quick", "sampling", "plain", "text"],
    needsTrace: false,
    python: (state) => modelCode(state, `.predict(${promptCode(state)}).stages(${samplingCode(state)})`),
    build: ({body, controls: above}) => {
      figures = [figure(), figure(), figure(), figure()];
      const columns = el("div", {class: "columns four"}, ...figures.map(({root}) => root));
      note = el("p", {class: "note"});
      above.append(...controls.build());
      body.append(columns, note);
    },
    draw: (state) => {
      controls.draw(state.sampling);
      if (state.quick !== null) {
        drawPreview(figures, note, state.quick.candidates);
      } else if (state.look !== null) {
        drawStages(context, figures, note, state.look);
      } else {
        for (const {root} of figures) {
          root.hidden = true;
        }
        note.textContent = state.text === "" && state.walk === null ? t("waiting.text") : t("waiting.look");
      }
    },
  });
}

/**
 * The engine's answer: the model's own probabilities, and nothing else yet.
 *
 * @param {Figure[]} figures
 * @param {HTMLElement} note
 * @param {Candidate[]} candidates
 */
function drawPreview(figures, note, candidates) {
  const rows = candidates.map(({id, text, probability}) => ({
    key: id,
    text: showWhitespace(text) || `#${id}`,
    value: probability,
  }));
  figures.forEach(({root}, column) => (root.hidden = column !== 1));
  const name = t("probabilities.model");
  const [, {caption, place}] = figures;
  caption.textContent = name;
  const max = Math.max(...rows.map((row) => row.value));
  drawBars(place, rows, {
    max,
    format: formatPercent,
    onPick: null,
    label: t("probabilities.bars", {name, count: rows.length}),
  });
  note.textContent = t("probabilities.quick");
}

/**
 * @param {Context} context
 * @param {Figure[]} figures
 * @param {HTMLElement} note
 * @param {Frame} look
 */
function drawStages({store, source, generator}, figures, note, look) {
  const {sampling, plain} = store.get();
  const logits = floats(look, "logits");
  const stages = samplingStages(logits, sampling);
  const top = topK(logits, TOP);
  const unedited =
    plain === null ? null : {logits: floats(plain, "logits"), probabilities: softmax(floats(plain, "logits"))};
  const onPick = source.live ? (/** @type {string | number} */ id) => generator.append(Number(id)) : null;
  const columns = /** @type {const} */ ([
    [t("probabilities.logits"), stages.logits, unedited?.logits],
    [t("probabilities.model"), stages.probabilities, unedited?.probabilities],
    [t("probabilities.tempered", {temperature: sampling.temperature}), stages.tempered, undefined],
    [t("probabilities.distribution"), stages.distribution, undefined],
  ]);
  const largest = Math.max(
    ...[stages.probabilities, stages.tempered, stages.distribution].map((all) => maximum(all, top)),
  );
  columns.forEach(([name, values, reference], column) => {
    const {root, caption, place} = figures[column];
    root.hidden = false;
    caption.textContent = name;
    drawBars(
      place,
      top.map((id) => bar(look, stages, id, values, reference, column)),
      {
        max: column === 0 ? Math.max(...top.map((id) => Math.abs(values[id]))) : largest,
        format: column === 0 ? (value) => formatNumber(value, 4) : formatPercent,
        onPick,
        label: t("probabilities.bars", {name, count: top.length}),
        describe: ({key}) => describe(look, stages, Number(key)),
      },
    );
  });
  note.textContent = noteText(stages, top, plain !== null, source.live);
}

/**
 * @param {Frame} look
 * @param {Stages} stages
 * @param {number} id
 * @param {Float32Array | Float64Array} values
 * @param {Float32Array | Float64Array | undefined} reference
 * @param {number} column
 * @returns {Bar}
 */
function bar(look, stages, id, values, reference, column) {
  return {
    key: id,
    text: labelOfId(look, id),
    value: values[id],
    reference: reference?.[id],
    faded: column >= 2 && !stages.kept[id],
  };
}

/**
 * @param {Frame} look
 * @param {Stages} stages
 * @param {number} id
 * @returns {string}
 */
function describe(look, stages, id) {
  return [
    labelOfId(look, id),
    `${t("probabilities.logits")}: ${formatNumber(stages.logits[id], 5)}`,
    `${t("probabilities.model")}: ${formatPercent(stages.probabilities[id])}`,
    `${t("probabilities.afterTemperature")}: ${formatPercent(stages.tempered[id])}`,
    `${t("probabilities.distribution")}: ${formatPercent(stages.distribution[id])}`,
  ].join("\n");
}

/**
 * @param {Stages} stages
 * @param {number[]} top
 * @param {boolean} changed
 * @param {boolean} live
 * @returns {string}
 */
function noteText(stages, top, changed, live) {
  const kept = stages.kept.reduce((count, one) => count + one, 0);
  const rest = 1 - top.reduce((mass, id) => mass + stages.probabilities[id], 0);
  const parts = [
    t("probabilities.kept", {
      kept: formatInteger(kept),
      count: formatInteger(stages.kept.length),
      mass: formatPercent(stages.discarded),
    }),
    t("probabilities.rest", {
      count: formatInteger(stages.kept.length - top.length),
      mass: formatPercent(Math.max(rest, 0)),
    }),
    live ? t("probabilities.pick") : t("file.walk"),
  ];
  if (changed) {
    parts.push(t("probabilities.mark"));
  }
  return parts.join(" ");
}

/**
 * @param {Float64Array} values
 * @param {number[]} ids
 * @returns {number}
 */
function maximum(values, ids) {
  return Math.max(...ids.map((place) => values[place]));
}
