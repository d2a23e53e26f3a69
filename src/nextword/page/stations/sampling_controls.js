/**
 * The sliders of temperature, top-k, top-p and min-p.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Sampling} Sampling
 * @typedef {import("nextword/i18n.js").TextKey} TextKey
 *
 * @typedef {object} Slider
 * @property {"temperature" | "top_k" | "top_p" | "min_p"} name
 * @property {TextKey} key
 * @property {number} max Of the slider; it starts at 0 and moves by 1.
 * @property {(position: number) => number | null} toValue What a position of the slider means.
 * @property {(value: number | null) => number} toPosition
 * @property {(value: number | null) => string} describe
 */

import {field} from "nextword/controls.js";
import {el} from "nextword/dom.js";
import {formatInteger, t} from "nextword/i18n.js";

/** The lower numbers have more room on the slider: 5 and 6 differ more than 500 and 501. The last place is no limit. */
const TOP_K_VALUES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000];
const DEFAULTS = {temperature: 1, top_k: null, top_p: 1, min_p: 0};

/** @type {Slider[]} */
const SLIDERS = [
  {
    name: "temperature",
    key: "probabilities.temperature",
    max: 40,
    toValue: (position) => position / 20,
    toPosition: (value) => Math.round((value ?? 1) * 20),
    describe: (value) => (value === 0 ? t("probabilities.greedy") : String(value)),
  },
  {
    name: "top_k",
    key: "probabilities.topK",
    max: TOP_K_VALUES.length,
    toValue: (position) => TOP_K_VALUES[position] ?? null,
    toPosition: (value) => (value === null ? TOP_K_VALUES.length : TOP_K_VALUES.indexOf(value)),
    describe: (value) => (value === null ? t("probabilities.off") : formatInteger(value)),
  },
  {
    name: "top_p",
    key: "probabilities.topP",
    max: 99,
    toValue: (position) => (position + 1) / 100,
    toPosition: (value) => Math.round((value ?? 1) * 100) - 1,
    describe: (value) => (value === 1 ? t("probabilities.off") : String(value)),
  },
  {
    name: "min_p",
    key: "probabilities.minP",
    max: 100,
    toValue: (position) => position / 100,
    toPosition: (value) => Math.round((value ?? 0) * 100),
    describe: (value) => (value === 0 ? t("probabilities.off") : String(value)),
  },
];

export class SamplingControls {
  /** @param {Context} context */
  constructor({store}) {
    this._store = store;
    /** @type {{slider: Slider, input: HTMLInputElement, value: HTMLElement}[]} */
    this._parts = [];
  }

  /** @returns {HTMLElement[]} */
  build() {
    this._parts = SLIDERS.map((slider) => {
      const input = el("input", {type: "range", min: 0, max: slider.max, step: 1});
      input.addEventListener("input", () => this._set({[slider.name]: slider.toValue(Number(input.value))}));
      return {slider, input, value: el("span", {class: "number"})};
    });
    const reset = el("button", {class: "quiet", type: "button"}, t("probabilities.reset"));
    reset.addEventListener("click", () => this._set(DEFAULTS));
    return [...this._parts.map(({slider, input, value}) => field(t(slider.key), input, value)), reset];
  }

  /** @param {Sampling} sampling */
  draw(sampling) {
    for (const {slider, input, value} of this._parts) {
      const now = sampling[slider.name];
      input.value = String(slider.toPosition(now));
      input.setAttribute("aria-valuetext", slider.describe(now));
      value.textContent = slider.describe(now);
    }
  }

  /** @param {Partial<Sampling>} changed */
  _set(changed) {
    this._store.set({sampling: {...this._store.get().sampling, ...changed}});
  }
}
