/**
 * A training run as it goes: its losses, what it writes, and the model at each saved step.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Run} Run
 * @typedef {import("nextword/types.js").RunEvent} RunEvent
 * @typedef {import("nextword/types.js").State} State
 */

import {drawLines} from "nextword/charts/lines.js";
import {byId, el} from "nextword/dom.js";
import {formatNumber} from "nextword/format.js";
import {metadataOf} from "nextword/frames.js";
import {formatInteger, t} from "nextword/i18n.js";
import {loadCode} from "nextword/python.js";
import {STEP_PREFIX} from "nextword/server_source.js";
import {addStation} from "nextword/station.js";

const POLL_MS = 2000;
const ENDED_POLL_MS = 10_000;
const SLIDER_DELAY_MS = 150;

/** @param {Context} context */
export function addTraining(context) {
  const {store, source, traceLoader} = context;
  /** @type {string | null} The model that was looked at before the slider was moved, if it is none of the run's. */
  let before = null;
  /** @type {TrainingView | null} */
  let view = null;
  let lastAnswer = "";

  /** @param {string} name */
  const selectModel = (name) => {
    const current = shownModel(store.get());
    const {run} = store.get();
    const sameShape = run !== null && current !== null && isRunModel(run, current);
    if (run !== null && isRunModel(run, name) && !sameShape) {
      before = current;
    }
    traceLoader.selectModel(name, sameShape);
  };

  addStation(context, {
    name: "training",
    title: () => "training.title",
    what: () => "training.what",
    keys: ["model", "run"],
    needsTrace: false,
    python: ({run, look}) => {
      if (run === null) {
        return "";
      }
      const model = look === null ? null : metadataOf(look).model;
      return loadCode(model?.name.startsWith(STEP_PREFIX) ? model.file : run.out);
    },
    build: ({body}) => {
      view = new TrainingView(selectModel);
      body.append(view.root);
    },
    draw: (state) => {
      if (state.run !== null) {
        view?.draw(state.run, shownModel(state), before);
      }
    },
  });

  /** @param {Run} run */
  const update = (run) => {
    const text = JSON.stringify(run);
    if (text === lastAnswer) {
      return;
    }
    lastAnswer = text;
    const {run: previous, model, error, walking} = store.get();
    const current = shownModel(store.get());
    // The page goes along with the run while it shows the newest there is; a step that was let go shows as that, too.
    const isNewest =
      previous === null ? model === null && current?.startsWith(STEP_PREFIX) : current === modelNames(previous).at(-1);
    const follow = current === null ? error !== null : isNewest || isDeleted(run, current);
    const newest = modelNames(run).at(-1);
    byId("training").hidden = false;
    store.set({run});
    if (follow && !walking && newest !== undefined && newest !== current) {
      selectModel(newest);
    }
  };
  const poll = async () => {
    let wait = POLL_MS;
    try {
      const run = document.hidden ? store.get().run : await source.run();
      if (run === null && !document.hidden) {
        return;
      }
      if (run !== null) {
        update(run);
        wait = run.running ? POLL_MS : ENDED_POLL_MS;
      }
    } catch {
      // the server is away for a moment
    }
    setTimeout(poll, wait);
  };
  if (source.live) {
    void poll();
  }
}

/**
 * @param {number} step
 * @returns {string} What the server calls the model of a step.
 */
function stepModel(step) {
  return `${STEP_PREFIX}${step}`;
}

/**
 * The models of a run as the slider has them: each saved step, then what the run came to.
 *
 * @param {Run} run
 * @returns {string[]}
 */
function modelNames(run) {
  return [...run.steps.map(stepModel), ...(run.model === null ? [] : [run.model])];
}

/**
 * @param {Run} run
 * @param {string} name
 * @returns {boolean}
 */
function isRunModel(run, name) {
  return name.startsWith(STEP_PREFIX) || name === run.model;
}

/**
 * @param {Run} run
 * @param {string} name
 * @returns {boolean} Whether it is the model of a step that is no longer kept.
 */
function isDeleted(run, name) {
  return name.startsWith(STEP_PREFIX) && !modelNames(run).includes(name);
}

/**
 * @param {Readonly<State>} state
 * @returns {string | null} The name of the model that the page shows.
 */
function shownModel({model, look}) {
  return model ?? (look === null ? null : metadataOf(look).model.name);
}

class TrainingView {
  /** @param {(name: string) => void} onChoose */
  constructor(onChoose) {
    this._state = el("p", {class: "note", role: "status"});
    this._chart = el("div");
    this._name = el("span");
    this._slider = el("input", {type: "range", min: 0, step: 1});
    this._field = el("label", {class: "field wide"}, this._name, this._slider);
    this._leave = el("button", {class: "quiet", type: "button"});
    this._samples = el("div", {class: "samples"});
    /** @type {Run | null} */
    this._run = null;
    /** @type {string | null} */
    this._before = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    this._slider.addEventListener("input", () => {
      const name = this._run === null ? undefined : modelNames(this._run)[Number(this._slider.value)];
      if (name === undefined) {
        return;
      }
      this._showName(name);
      clearTimeout(timer);
      timer = setTimeout(() => onChoose(name), SLIDER_DELAY_MS);
    });
    this._leave.addEventListener("click", () => this._before !== null && onChoose(this._before));
    const controls = el("div", {class: "controls"}, this._field, this._leave);
    this.root = el("div", {class: "stack"}, this._state, this._chart, controls, this._samples);
  }

  /**
   * @param {Run} run
   * @param {string | null} name The model that the page shows.
   * @param {string | null} before The one that it showed before one of the run's.
   */
  draw(run, name, before) {
    this._run = run;
    this._before = before;
    const values = {name: run.name, step: formatInteger(run.events.at(-1)?.step ?? 0)};
    const none = run.steps.length > 0 ? "" : ` ${t(run.running ? "training.noStepsYet" : "training.noSteps")}`;
    const text = t(run.running ? "training.running" : "training.done", values) + none;
    if (this._state.textContent !== text) {
      this._state.textContent = text;
    }
    this._drawChart(run.events);
    const names = modelNames(run);
    const index = name === null ? -1 : names.indexOf(name);
    this._field.hidden = run.steps.length === 0;
    this._leave.hidden = before === null || index < 0;
    this._leave.textContent = t("training.leave", {model: before ?? ""});
    this._slider.max = String(Math.max(names.length - 1, 0));
    this._slider.value = String(index < 0 ? names.length - 1 : index);
    this._showName(index < 0 ? null : name);
    const step = run.steps[index]; // undefined: the finished model, or none of the run's
    this._drawSamples(step === undefined ? run.events : run.events.filter((event) => event.step <= step));
  }

  /** @param {string | null} name */
  _showName(name) {
    const label = name === null ? t("training.slider") : this._describe(name);
    this._name.textContent = label;
    this._slider.setAttribute("aria-valuetext", label);
  }

  /**
   * @param {string} name
   * @returns {string}
   */
  _describe(name) {
    if (!name.startsWith(STEP_PREFIX)) {
      return t("training.finished");
    }
    const step = Number(name.slice(STEP_PREFIX.length));
    const isNewest = this._run?.running && step === this._run.steps.at(-1);
    return t(isNewest ? "training.newest" : "training.at", {step: formatInteger(step)});
  }

  /** @param {RunEvent[]} events */
  _drawChart(events) {
    const series = [
      seriesOf(t("training.loss"), events, (event) => event.loss),
      seriesOf(t("training.validation"), events, (event) => event.validation),
    ].filter(({x}) => x.length > 0);
    this._chart.hidden = series.length === 0;
    if (series.length === 0) {
      return;
    }
    drawLines(this._chart, series, {
      xLabel: t("training.step"),
      yLabel: t("training.y"),
      label: t("training.label"),
      xFormat: formatInteger,
      describe: (line, index) => {
        const {name, x, y} = series[line];
        return t("training.point", {name, step: formatInteger(x[index]), value: formatNumber(y[index], 4)});
      },
    });
  }

  /** @param {RunEvent[]} events */
  _drawSamples(events) {
    const samples = events
      .filter(({sample}) => sample !== undefined)
      .slice(-3)
      .reverse();
    this._samples.replaceChildren(
      ...samples.flatMap(({step, sample}) => [
        el("h3", {class: "caption"}, t("training.sample", {step: formatInteger(step)})),
        el("p", {class: "written-text"}, sample),
      ]),
    );
  }
}

/**
 * @param {string} name
 * @param {RunEvent[]} events
 * @param {(event: RunEvent) => number | undefined} value
 * @returns {import("nextword/charts/lines.js").Series}
 */
function seriesOf(name, events, value) {
  /** @type {import("nextword/charts/lines.js").Series} */
  const series = {name, x: [], y: []};
  for (const event of events) {
    const y = value(event);
    if (y === undefined || y === null) {
      continue;
    }
    series.x.push(event.step);
    series.y.push(y);
  }
  return series;
}
