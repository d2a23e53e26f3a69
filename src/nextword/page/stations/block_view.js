/**
 * An opened layer: its heads, one of them large, and what each part adds.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 */

import {drawBars} from "nextword/charts/bars.js";
import {drawDots} from "nextword/charts/dots.js";
import {drawThumbnail} from "nextword/charts/thumbnail.js";
import {figure} from "nextword/controls.js";
import {el} from "nextword/dom.js";
import {headFactor, isAblated, toggleEdit, withHeadFactor} from "nextword/edits.js";
import {formatNumber, formatPercent, formatSigned} from "nextword/format.js";
import {floats, has, limit, shape, slice} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {showWhitespace, tokenLabels} from "nextword/token_text.js";

export class BlockView {
  /** @param {Context} context */
  constructor(context) {
    const {source, store} = context;
    const disabled = !source.live;
    this._context = context;
    this._root = el("div", {class: "stack", hidden: true});
    /** @type {Frame | null} */
    this._frame = null;
    /** @type {string[]} */
    this._labels = [];
    this._layer = 0;
    this._drawnState = "";
    /** @type {(position: number | null) => void} */
    this._highlight = () => {};
    this._layerSwitch = el("button", {class: "quiet", type: "button", disabled});
    this._layerSwitch.addEventListener("click", () => this._toggle("layer"));
    this._mlpSwitch = el("button", {class: "quiet", type: "button", disabled});
    this._mlpSwitch.addEventListener("click", () => this._toggle("mlp"));
    this._thumbs = el("div", {class: "thumbs", role: "group"});
    this._factor = el("input", {type: "range", min: 0, max: 2, step: 0.1, disabled});
    this._factorName = el("span");
    this._factor.addEventListener("input", () => this._nameFactor(Number(this._factor.value)));
    this._factor.addEventListener("change", () => {
      const {edits, head} = store.get();
      store.set({edits: withHeadFactor(edits, this._layer, head ?? 0, Number(this._factor.value))});
    });
    this._dots = figure();
    this._sizes = figure();
    this._headSizes = figure();
    this._contributions = figure();
    this._reason = el("p", {class: "note"});
    this._heads = el("h3", {class: "caption"});
  }

  /** @returns {HTMLElement} */
  build() {
    this._drawnState = "";
    this._root.hidden = true;
    const factor = el("label", {class: "field"}, this._factorName, this._factor);
    this._root.replaceChildren(
      el("div", {class: "controls"}, this._layerSwitch, this._mlpSwitch),
      el("div", {}, this._heads, this._thumbs),
      el("div", {class: "controls"}, factor, el("p", {class: "note"}, t("blocks.factorHint"))),
      this._dots.root,
      el("div", {class: "columns"}, this._sizes.root, this._headSizes.root, this._contributions.root),
      this._reason,
      ...(this._context.source.live ? [] : [el("p", {class: "note"}, t("file.edit"))]),
    );
    return this._root;
  }

  hide() {
    this._root.hidden = true;
  }

  /**
   * @param {Frame} frame
   * @param {Frame} look
   * @param {number} layer
   */
  draw(frame, look, layer) {
    const {edits, head, hover} = this._context.store.get();
    this._root.hidden = false;
    [this._layer, this._labels] = [layer, tokenLabels(look)];
    const chosen = Math.min(head ?? 0, shape(frame, "pattern")[0] - 1);
    const state = JSON.stringify([layer, chosen, edits]);
    // A hovered token changes only the bars, and which row is lit.
    if (frame !== this._frame || state !== this._drawnState) {
      [this._frame, this._drawnState] = [frame, state];
      this._drawSwitches();
      this._drawHeads(frame, chosen);
      this._drawDots(frame, chosen);
      this._drawContributions(frame);
    }
    this._highlight(hover);
    this._drawSizes(frame, Math.min(hover ?? this._labels.length - 1, this._labels.length - 1), chosen);
  }

  /** @param {"layer" | "mlp"} kind */
  _toggle(kind) {
    const {store} = this._context;
    store.set({edits: toggleEdit(store.get().edits, {kind, layer: this._layer})});
  }

  _drawSwitches() {
    const {edits} = this._context.store.get();
    const layer = this._layer;
    for (const [kind, button] of /** @type {const} */ ([
      ["layer", this._layerSwitch],
      ["mlp", this._mlpSwitch],
    ])) {
      const off = isAblated(edits, kind, layer);
      const label = kind === "layer" ? t("blocks.layer", {layer}) : "MLP";
      button.textContent = label;
      // Seen; who hears the page is told by pressed or not.
      button.dataset.state = off ? t("blocks.off") : t("blocks.on");
      button.setAttribute("aria-pressed", String(!off));
      button.setAttribute(
        "aria-label",
        kind === "layer" ? t("blocks.switchLayer", {layer}) : t("blocks.switchMlp", {layer}),
      );
    }
  }

  /**
   * @param {Frame} frame
   * @param {number} chosen
   */
  _drawHeads(frame, chosen) {
    const {store, source} = this._context;
    const {edits} = store.get();
    const layer = this._layer;
    const [heads, count] = shape(frame, "pattern");
    this._heads.textContent = t("blocks.heads", {layer});
    this._thumbs.setAttribute("aria-label", t("blocks.heads", {layer}));
    while (this._thumbs.childElementCount > heads) {
      this._thumbs.lastElementChild?.remove();
    }
    while (this._thumbs.childElementCount < heads) {
      this._thumbs.append(el("div"));
    }
    for (let head = 0; head < heads; head++) {
      drawThumbnail(
        /** @type {HTMLElement} */ (this._thumbs.children[head]),
        {weights: slice(frame, "pattern", head), count, off: headFactor(edits, layer, head) === 0},
        {
          label: t("blocks.head", {head}),
          switchLabel: t("blocks.headSwitch", {layer, head}),
          chosen: head === chosen,
          disabled: !source.live,
          onOpen: () => store.set({head}),
          onToggle: () => {
            const now = store.get().edits;
            const factor = headFactor(now, layer, head) === 0 ? 1 : 0;
            store.set({edits: withHeadFactor(now, layer, head, factor), head});
          },
        },
      );
    }
    const factor = headFactor(edits, layer, chosen);
    this._factor.value = String(factor);
    this._nameFactor(factor);
  }

  /** @param {number} factor */
  _nameFactor(factor) {
    const {head} = this._context.store.get();
    this._factorName.textContent = t("blocks.factor", {head: head ?? 0, factor: factor.toFixed(1)});
  }

  /**
   * @param {Frame} frame
   * @param {number} head
   */
  _drawDots(frame, head) {
    const {store} = this._context;
    const label = t("blocks.pattern", {layer: this._layer, head});
    this._dots.caption.textContent = label;
    const names = this._labels;
    const weights = slice(frame, "pattern", head);
    this._highlight = drawDots(
      this._dots.place,
      {weights, count: names.length, labels: names},
      {
        label,
        onHover: (hover) => store.set({hover}),
        describe: (row, column, weight) =>
          t("blocks.weight", {from: names[row], to: names[column], weight: formatPercent(weight)}),
      },
    ).highlight;
  }

  /**
   * @param {Frame} frame
   * @param {number} position
   * @param {number} chosen
   */
  _drawSizes(frame, position, chosen) {
    const token = this._labels[position];
    const rows = [
      {key: "before", text: t("blocks.before"), value: floats(frame, "residual_norm")[position]},
      {key: "attention", text: t("blocks.attention"), value: floats(frame, "attention_norm")[position]},
      {key: "mlp", text: t("blocks.mlp"), value: floats(frame, "mlp_norm")[position]},
    ];
    this._sizes.caption.textContent = t("blocks.sizes", {token});
    const max = Math.max(...rows.map((row) => row.value));
    drawBars(this._sizes.place, rows, {max, format: formatNumber, onPick: null, label: t("blocks.sizes", {token})});
    const norms = slice(frame, "head_norm", position);
    this._headSizes.caption.textContent = t("blocks.headSizes", {token});
    drawBars(this._headSizes.place, this._headRows(norms, chosen), {
      max: limit(norms),
      format: formatNumber,
      onPick: (head) => this._context.store.set({head: Number(head)}),
      label: t("blocks.headSizes", {token}),
    });
  }

  /** @param {Frame} frame */
  _drawContributions(frame) {
    const known = has(frame, "head_contribution");
    /** @type {{target: {text: string, id: number}, why_no_contributions: string}} */
    const {target, why_no_contributions: reason} = frame.about;
    this._contributions.root.hidden = !known;
    this._reason.textContent = known ? "" : t("blocks.noContributions", {reason});
    if (!known) {
      return;
    }
    const [heads, mlp] = [floats(frame, "head_contribution"), floats(frame, "mlp_contribution")];
    const label = t("blocks.contributions", {token: showWhitespace(target.text) || `#${target.id}`});
    this._contributions.caption.textContent = label;
    const rows = [...this._headRows(heads, null), {key: "mlp", text: "MLP", value: mlp[0]}];
    drawBars(this._contributions.place, rows, {max: limit(heads, mlp), format: formatSigned, onPick: null, label});
  }

  /**
   * @param {Float32Array} values One a head.
   * @param {number | null} chosen
   * @returns {import("nextword/charts/bars.js").Bar[]}
   */
  _headRows(values, chosen) {
    const {edits} = this._context.store.get();
    return Array.from(values, (value, head) => ({
      key: head,
      text: t("blocks.head", {head}),
      value,
      chosen: head === chosen,
      faded: headFactor(edits, this._layer, head) === 0,
    }));
  }
}
