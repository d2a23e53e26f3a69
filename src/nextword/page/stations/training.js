/**
 * A training run as it goes: its losses, what it writes, and the model at each saved step.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Run} Run
 * @typedef {import("nextword/types.js").RunEvent} RunEvent
 */

import {drawLines} from "nextword/charts/lines.js";
import {el, number} from "nextword/dom.js";
import {t, whole} from "nextword/i18n.js";
import {quoted} from "nextword/python.js";
import {addStation, section} from "nextword/station.js";

const POLL_MS = 2000;
const SLIDE_MS = 150;
const AT_STEP = "run@";

/** @param {Context} context */
export function addTraining(context) {
  const {store, source, looking} = context;
  /** @type {Run | null} */
  let run = null;
  /** @type {string | null} The model that was looked at before the slider was moved. */
  let finished = null;
  /** @type {View | null} */
  let view = null;

  /** @param {number} step */
  const choose = (step) => {
    const {model} = store.get();
    if (!model?.startsWith(AT_STEP)) {
      finished = model;
    }
    looking.choose(`${AT_STEP}${step}`, model?.startsWith(AT_STEP));
  };

  addStation(context, {
    name: "training",
    title: () => "training.title",
    what: () => "training.what",
    keys: ["model", "run"],
    needsLook: false,
    python: ({run: now}) => (now === null ? "" : `nextword.load(${quoted(now.out)})`),
    build: ({body}) => {
      view = new View(choose, () => looking.choose(finished));
      body.append(view.root);
    },
    draw: (state) => {
      run = state.run;
      if (run !== null) {
        view?.draw(run, stepOf(state.model));
      }
    },
  });
  const poll = async () => {
    try {
      const now = await source.run();
      if (now === null) {
        return;
      }
      section("training").hidden = false;
      store.set({run: now});
      if (now.running) {
        setTimeout(poll, POLL_MS);
      }
    } catch {
      setTimeout(poll, POLL_MS); // the server is away for a moment
    }
  };
  if (source.live) {
    void poll();
  }
}

/**
 * @param {string | null} model
 * @returns {number | null}
 */
function stepOf(model) {
  return model?.startsWith(AT_STEP) ? Number(model.slice(AT_STEP.length)) : null;
}

class View {
  /**
   * @param {(step: number) => void} onStep
   * @param {() => void} onLeave
   */
  constructor(onStep, onLeave) {
    this._state = el("p", {class: "note", role: "status"});
    this._chart = el("div");
    this._name = el("span");
    this._slider = el("input", {type: "range", min: 0, step: 1});
    this._field = el("label", {class: "field"}, this._name, this._slider);
    this._leave = el("button", {class: "quiet", type: "button", onClick: onLeave}, t("training.leave"));
    this._samples = el("div", {class: "samples"});
    /** @type {number[]} */
    this._steps = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    this._slider.addEventListener("input", () => {
      const step = this._steps[Number(this._slider.value)];
      this._say(step);
      clearTimeout(timer);
      timer = setTimeout(() => onStep(step), SLIDE_MS);
    });
    const controls = el("div", {class: "controls"}, this._field, this._leave);
    this.root = el("div", {class: "stack"}, this._state, this._chart, controls, this._samples);
  }

  /**
   * @param {Run} run
   * @param {number | null} step The one that the page looks at.
   */
  draw(run, step) {
    const last = run.events.at(-1)?.step ?? 0;
    const says = {name: run.name, step: whole(last)};
    this._state.textContent = run.running ? t("training.running", says) : t("training.done", says);
    this._drawChart(run.events);
    this._steps = run.steps;
    this._field.hidden = run.steps.length === 0;
    this._leave.hidden = step === null;
    if (run.steps.length === 0) {
      this._state.textContent += ` ${t("training.noSteps")}`;
    }
    this._slider.max = String(Math.max(run.steps.length - 1, 0));
    const place = step === null ? run.steps.length - 1 : run.steps.indexOf(step);
    if (document.activeElement !== this._slider || step === null) {
      this._slider.value = String(place);
    }
    this._say(step);
    this._drawSamples(run.events);
  }

  /** @param {number | null} step */
  _say(step) {
    const says = step === null ? t("training.slider") : t("training.at", {step: whole(step)});
    this._name.textContent = says;
    this._slider.setAttribute("aria-valuetext", says);
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
      xFormat: whole,
      describe: (line, index) => {
        const {name, x, y} = series[line];
        return t("training.point", {name, step: whole(x[index]), value: number(y[index], 4)});
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
        el("h3", {class: "caption"}, t("training.sample", {step: whole(step)})),
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
