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
import {el, number, percent} from "nextword/dom.js";
import {t, whole} from "nextword/i18n.js";
import {promptOf, pythonOf, samplingOf} from "nextword/python.js";
import {best, softmax, stages} from "nextword/sampling.js";
import {addStation, figure} from "nextword/station.js";
import {SamplingControls} from "nextword/stations/sampling_controls.js";
import {floats} from "nextword/tensors.js";
import {named, shown} from "nextword/words.js";

/** @typedef {ReturnType<typeof figure>} Figure */

const SHOWN = 20;

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
    needsLook: false,
    python: (state) => pythonOf(state, `.predict(${promptOf(state)}).stages(${samplingOf(state)})`),
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
        drawQuick(figures, note, state.quick.candidates);
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
function drawQuick(figures, note, candidates) {
  const rows = candidates.map(({id, text, probability}) => ({
    key: id,
    text: shown(text) || `#${id}`,
    value: probability,
  }));
  figures.forEach(({root}, column) => (root.hidden = column !== 1));
  const name = t("probabilities.model");
  const [, {caption, place}] = figures;
  caption.textContent = name;
  const max = Math.max(...rows.map((row) => row.value));
  drawBars(place, rows, {
    max,
    format: percent,
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
function drawStages({store, source, walking}, figures, note, look) {
  const {sampling, plain} = store.get();
  const logits = floats(look, "logits");
  const found = stages(logits, sampling);
  const top = best(logits, SHOWN);
  const before =
    plain === null ? null : {logits: floats(plain, "logits"), probabilities: softmax(floats(plain, "logits"))};
  const onPick = source.live ? (/** @type {string | number} */ id) => walking.append(Number(id)) : null;
  const columns = /** @type {const} */ ([
    [t("probabilities.logits"), found.logits, before?.logits],
    [t("probabilities.model"), found.probabilities, before?.probabilities],
    [t("probabilities.tempered", {temperature: sampling.temperature}), found.tempered, undefined],
    [t("probabilities.distribution"), found.distribution, undefined],
  ]);
  const largest = Math.max(
    ...[found.probabilities, found.tempered, found.distribution].map((all) => maximum(all, top)),
  );
  columns.forEach(([name, values, reference], column) => {
    const {root, caption, place} = figures[column];
    root.hidden = false;
    caption.textContent = name;
    drawBars(
      place,
      top.map((id) => bar(look, found, id, values, reference, column)),
      {
        max: column === 0 ? Math.max(...top.map((id) => Math.abs(values[id]))) : largest,
        format: column === 0 ? (value) => number(value, 4) : percent,
        onPick,
        label: t("probabilities.bars", {name, count: top.length}),
        describe: ({key}) => describe(look, found, Number(key)),
      },
    );
  });
  note.textContent = noteOf(found, top, plain !== null, source.live);
}

/**
 * @param {Frame} look
 * @param {Stages} found
 * @param {number} id
 * @param {Float32Array | Float64Array} values
 * @param {Float32Array | Float64Array | undefined} reference
 * @param {number} column
 * @returns {Bar}
 */
function bar(look, found, id, values, reference, column) {
  return {
    key: id,
    text: named(look, id),
    value: values[id],
    reference: reference?.[id],
    faded: column >= 2 && !found.kept[id],
  };
}

/**
 * @param {Frame} look
 * @param {Stages} found
 * @param {number} id
 * @returns {string}
 */
function describe(look, found, id) {
  return [
    named(look, id),
    `${t("probabilities.logits")}: ${number(found.logits[id], 5)}`,
    `${t("probabilities.model")}: ${percent(found.probabilities[id])}`,
    `${t("probabilities.afterTemperature")}: ${percent(found.tempered[id])}`,
    `${t("probabilities.distribution")}: ${percent(found.distribution[id])}`,
  ].join("\n");
}

/**
 * @param {Stages} found
 * @param {number[]} top
 * @param {boolean} changed
 * @param {boolean} live
 * @returns {string}
 */
function noteOf(found, top, changed, live) {
  const kept = found.kept.reduce((count, one) => count + one, 0);
  const rest = 1 - top.reduce((mass, id) => mass + found.probabilities[id], 0);
  const parts = [
    t("probabilities.kept", {
      kept: whole(kept),
      count: whole(found.kept.length),
      mass: percent(found.discarded),
    }),
    t("probabilities.rest", {count: whole(found.kept.length - top.length), mass: percent(Math.max(rest, 0))}),
    live ? t("probabilities.pick") : t("file.walk"),
  ];
  if (changed) {
    parts.push(t("probabilities.mark"));
  }
  return parts.join(" ");
}

/**
 * @param {Float64Array} values
 * @param {number[]} places
 * @returns {number}
 */
function maximum(values, places) {
  return Math.max(...places.map((place) => values[place]));
}
