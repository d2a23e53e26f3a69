/**
 * The strip of layers; one of them opens in place.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 */

import {el} from "nextword/dom.js";
import {isAblated} from "nextword/edits.js";
import {formatNumber} from "nextword/format.js";
import {floats, metadataOf, shape} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {traceCode} from "nextword/python.js";
import {errorMessage} from "nextword/source_error.js";
import {addStation, loadPart} from "nextword/station.js";
import {BlockView} from "nextword/stations/block_view.js";

/** @param {Context} context */
export function addBlocks(context) {
  const {store} = context;
  const view = new BlockView(context);
  /** @type {HTMLElement} */
  let strip;
  /** @type {HTMLElement} */
  let note;
  /** @type {WeakMap<Frame, Map<number, Promise<Frame>>>} */
  const cache = new WeakMap();

  /**
   * @param {Frame} look
   * @param {number} layer
   */
  const show = async (look, layer) => {
    const frames = cache.get(look) ?? new Map();
    cache.set(look, frames);
    if (!frames.has(layer)) {
      frames.set(
        layer,
        loadPart(context, look, (now) => context.source.block(now, layer)),
      );
    }
    const isStale = () => store.get().look !== look || store.get().layer !== layer;
    try {
      const frame = await frames.get(layer);
      if (isStale()) {
        return;
      }
      note.textContent = isAblated(store.get().edits, "layer", layer) ? t("blocks.layerOff", {layer}) : "";
      view.draw(frame, look, layer);
    } catch (error) {
      frames.delete(layer);
      if (isStale()) {
        return;
      }
      view.hide();
      note.textContent = errorMessage(error) || t("error.absent");
    }
  };

  addStation(context, {
    name: "blocks",
    title: () => "blocks.title",
    what: () => "blocks.what",
    keys: ["layer", "head", "hover", "edits"],
    needsTrace: true,
    python: (state) => traceCode(state, state.layer === null ? "" : `.attention(${state.layer}, ${state.head ?? 0})`),
    build: ({body}) => {
      strip = el("div", {class: "strip", role: "group", "aria-label": t("blocks.strip")});
      note = el("p", {class: "note", role: "status"});
      body.append(strip, note, view.build());
    },
    draw: (state) => {
      const look = /** @type {Frame} */ (state.look);
      drawStrip(context, strip, look);
      if (state.layer === null) {
        view.hide();
        note.textContent = t("blocks.closed");
      } else {
        if (!cache.get(look)?.has(state.layer)) {
          note.textContent = t("blocks.opening", {layer: state.layer});
        }
        void show(look, state.layer);
      }
    },
  });
}

/**
 * A button a layer, from the first to the last, with what it adds at the token that is lit.
 *
 * @param {Context} context
 * @param {HTMLElement} strip
 * @param {Frame} look
 */
function drawStrip({store}, strip, look) {
  const {layers} = metadataOf(look).model;
  const {layer: opened, edits, hover} = store.get();
  if (strip.childElementCount !== layers) {
    strip.replaceChildren(...Array.from({length: layers}, (_, layer) => layerButton(store, layer)));
  }
  const [, count] = shape(look, "attention_norm");
  const position = Math.min(hover ?? count - 1, count - 1);
  Array.from(strip.children).forEach((button, layer) => {
    const off = isAblated(edits, "layer", layer);
    const [name, added] = Array.from(button.children);
    const at = layer * count + position;
    const values = {
      attention: formatNumber(floats(look, "attention_norm")[at]),
      mlp: formatNumber(floats(look, "mlp_norm")[at]),
    };
    name.textContent = t("blocks.layer", {layer});
    added.textContent = off ? t("blocks.off") : t("blocks.added", values);
    button.classList.toggle("off", off);
    button.setAttribute("aria-expanded", String(layer === opened));
  });
}

/**
 * @param {Context["store"]} store
 * @param {number} layer
 * @returns {HTMLElement}
 */
function layerButton(store, layer) {
  return el(
    "button",
    {
      class: "layer",
      type: "button",
      onClick: () => store.set({layer: store.get().layer === layer ? null : layer, head: store.get().head ?? 0}),
    },
    el("span", {class: "layer-name"}),
    el("span", {class: "layer-added"}),
  );
}
