/**
 * A training run as it goes: its losses, what it writes, and the model at each saved step.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Run} Run
 * @typedef {import("nextword/types.js").RunEvent} RunEvent
 * @typedef {import("nextword/types.js").State} State
 */

import {drawLines} from "nextword/charts/lines.js";
import {el, number} from "nextword/dom.js";
import {t, whole} from "nextword/i18n.js";
import {loadOf} from "nextword/python.js";
import {addStation, section} from "nextword/station.js";
import {aboutOf} from "nextword/words.js";

const POLL_MS = 2000;
const SELDOM_MS = 10_000;
const SLIDE_MS = 150;
const AT_STEP = "run@";

/** @param {Context} context */
export function addTraining(context) {
  const {store, source, looking} = context;
  /** @type {string | null} The model that was looked at before the slider was moved, if it is none of the run's. */
  let before = null;
  /** @type {View | null} */
  let view = null;
  let last = "";

  /** @param {string} name */
  const choose = (name) => {
    const now = shown(store.get());
    const {run} = store.get();
    const sameShape = run !== null && now !== null && isOf(run, now);
    if (run !== null && isOf(run, name) && !sameShape) {
      before = now;
    }
    looking.choose(name, sameShape);
  };

  addStation(context, {
    name: "training",
    title: () => "training.title",
    what: () => "training.what",
    keys: ["model", "run"],
    needsLook: false,
    python: ({run, look}) => {
      if (run === null) {
        return "";
      }
      const model = look === null ? null : aboutOf(look).model;
      return loadOf(model?.name.startsWith(AT_STEP) ? model.file : run.out);
    },
    build: ({body}) => {
      view = new View(choose);
      body.append(view.root);
    },
    draw: (state) => {
      if (state.run !== null) {
        view?.draw(state.run, shown(state), before);
      }
    },
  });

  /** @param {Run} run */
  const tell = (run) => {
    const text = JSON.stringify(run);
    if (text === last) {
      return;
    }
    last = text;
    const {run: known, model, error, walking} = store.get();
    const now = shown(store.get());
    // The page goes along with the run while it shows the newest there is; a step that was let go shows as that, too.
    const newest = known === null ? model === null && now?.startsWith(AT_STEP) : now === places(known).at(-1);
    const goes = now === null ? error !== null : newest || isGone(run, now);
    const next = places(run).at(-1);
    section("training").hidden = false;
    store.set({run});
    if (goes && !walking && next !== undefined && next !== now) {
      choose(next);
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
        tell(run);
        wait = run.running ? POLL_MS : SELDOM_MS;
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
function nameOf(step) {
  return `${AT_STEP}${step}`;
}

/**
 * The models of a run as the slider has them: each saved step, then what the run came to.
 *
 * @param {Run} run
 * @returns {string[]}
 */
function places(run) {
  return [...run.steps.map(nameOf), ...(run.model === null ? [] : [run.model])];
}

/**
 * @param {Run} run
 * @param {string} name
 * @returns {boolean}
 */
function isOf(run, name) {
  return name.startsWith(AT_STEP) || name === run.model;
}

/**
 * @param {Run} run
 * @param {string} name
 * @returns {boolean} Whether it is the model of a step that is no longer kept.
 */
function isGone(run, name) {
  return name.startsWith(AT_STEP) && !places(run).includes(name);
}

/**
 * @param {Readonly<State>} state
 * @returns {string | null} The name of the model that the page shows.
 */
function shown({model, look}) {
  return model ?? (look === null ? null : aboutOf(look).model.name);
}

class View {
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
      const name = this._run === null ? undefined : places(this._run)[Number(this._slider.value)];
      if (name === undefined) {
        return;
      }
      this._say(name);
      clearTimeout(timer);
      timer = setTimeout(() => onChoose(name), SLIDE_MS);
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
    const says = {name: run.name, step: whole(run.events.at(-1)?.step ?? 0)};
    const none = run.steps.length > 0 ? "" : ` ${t(run.running ? "training.noStepsYet" : "training.noSteps")}`;
    const text = t(run.running ? "training.running" : "training.done", says) + none;
    if (this._state.textContent !== text) {
      this._state.textContent = text;
    }
    this._drawChart(run.events);
    const all = places(run);
    const place = name === null ? -1 : all.indexOf(name);
    this._field.hidden = run.steps.length === 0;
    this._leave.hidden = before === null || place < 0;
    this._leave.textContent = t("training.leave", {model: before ?? ""});
    this._slider.max = String(Math.max(all.length - 1, 0));
    this._slider.value = String(place < 0 ? all.length - 1 : place);
    this._say(place < 0 ? null : name);
    const step = place < run.steps.length ? run.steps[place] : undefined; // undefined: the finished model, or none of it
    this._drawSamples(step === undefined ? run.events : run.events.filter((event) => event.step <= step));
  }

  /** @param {string | null} name */
  _say(name) {
    const says = name === null ? t("training.slider") : this._called(name);
    this._name.textContent = says;
    this._slider.setAttribute("aria-valuetext", says);
  }

  /**
   * @param {string} name
   * @returns {string}
   */
  _called(name) {
    if (!name.startsWith(AT_STEP)) {
      return t("training.finished");
    }
    const step = Number(name.slice(AT_STEP.length));
    const follows = this._run?.running && step === this._run.steps.at(-1);
    return t(follows ? "training.newest" : "training.at", {step: whole(step)});
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
