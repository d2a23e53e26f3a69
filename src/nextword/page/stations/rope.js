/**
 * How a rotary model says where a token stands: it turns queries and keys.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 */

import {drawRopeDials} from "nextword/charts/rope_dials.js";
import {field, figure, select} from "nextword/controls.js";
import {el} from "nextword/dom.js";
import {formatNumber} from "nextword/format.js";
import {floats, metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {errorMessage} from "nextword/source_error.js";
import {loadPart} from "nextword/station.js";
import {tokenLabels} from "nextword/token_text.js";

const MAX_PAIRS = 16;

export class RopeView {
  /** @param {Context} context */
  constructor(context) {
    this._context = context;
    /** @type {"q" | "k"} */
    this._which = "q";
    this._figure = figure();
    this._note = el("p", {class: "note"});
    this._controls = el("div", {class: "controls"});
    /** @type {(position: number | null) => void} */
    this.highlight = () => {};
  }

  /** @returns {HTMLElement} */
  build() {
    this._figure = figure();
    this._note = el("p", {class: "note"});
    this._controls = el("div", {class: "controls"});
    const note = el("p", {class: "note"}, t("embedding.rotary"));
    return el("div", {class: "stack"}, note, this._controls, this._figure.root, this._note);
  }

  draw() {
    const {look, turning} = this._context.store.get();
    if (look === null) {
      return;
    }
    const {layers, heads} = metadataOf(look).model;
    this._controls.replaceChildren(
      field(
        t("embedding.layer"),
        numberSelect(layers, turning.layer, (layer) => this._choose({layer})),
      ),
      field(
        t("embedding.head"),
        numberSelect(heads, turning.head, (head) => this._choose({head})),
      ),
      field(
        t("embedding.which"),
        select(
          [
            ["q", t("embedding.queries")],
            ["k", t("embedding.keys")],
          ],
          this._which,
          (which) => this._choose({which}),
        ),
      ),
    );
    void this._show(look);
  }

  /** @param {{layer?: number, head?: number, which?: "q" | "k"}} choice */
  _choose({which = this._which, ...turning}) {
    const {store} = this._context;
    this._which = which;
    store.set({turning: {...store.get().turning, ...turning}});
    const {look} = store.get();
    if (look !== null) {
      void this._show(look);
    }
  }

  /** @param {Frame} look */
  async _show(look) {
    const {store, source} = this._context;
    const {turning} = store.get();
    const which = this._which;
    const isStale = () =>
      store.get().look !== look || store.get().turning !== turning || which !== this._which;
    try {
      const frame = await loadPart(this._context, look, (now) => source.turns(now, turning.layer, turning.head));
      if (!isStale()) {
        this._draw(frame, look, which);
      }
    } catch (error) {
      if (isStale()) {
        return;
      }
      this._figure.root.hidden = true;
      this._note.textContent = errorMessage(error) || t("error.absent");
    }
  }

  /**
   * @param {Frame} frame
   * @param {Frame} look
   * @param {"q" | "k"} which
   */
  _draw(frame, look, which) {
    const tokens = tokenLabels(look);
    /** @type {{layer: number, head: number, pairs: number}} */
    const {layer, head, pairs} = frame.about;
    this._figure.root.hidden = pairs === 0;
    this._note.textContent =
      pairs === 0 ? t("embedding.unturned", {layer}) : t("embedding.pairs", {shown: Math.min(MAX_PAIRS, pairs), pairs});
    if (pairs === 0) {
      return;
    }
    const name = t("embedding.dials", {layer, head});
    const [before, after, angle] = [floats(frame, `${which}_before`), floats(frame, which), floats(frame, "angle")];
    this._figure.caption.textContent = name;
    this.highlight = drawRopeDials(
      this._figure.place,
      {before, after, angle, count: tokens.length, pairs, maxPairs: MAX_PAIRS},
      {
        labels: tokens,
        label: name,
        onHover: (hover) => this._context.store.set({hover}),
        describe: (position, pair) => {
          const at = position * pairs + pair;
          return t("embedding.dial", {
            token: tokens[position],
            pair,
            angle: formatNumber((angle[at] * 180) / Math.PI, 4),
            x0: formatNumber(before[2 * at]),
            y0: formatNumber(before[2 * at + 1]),
            x1: formatNumber(after[2 * at]),
            y1: formatNumber(after[2 * at + 1]),
          });
        },
      },
    ).highlight;
    this.highlight(this._context.store.get().hover);
  }
}

/**
 * @param {number} count
 * @param {number} chosen
 * @param {(value: number) => void} onChoose
 * @returns {HTMLSelectElement}
 */
function numberSelect(count, chosen, onChoose) {
  /** @type {[string, string][]} */
  const choices = Array.from({length: count}, (_, i) => [String(i), String(i)]);
  return select(choices, String(chosen), (value) => onChoose(Number(value)));
}
