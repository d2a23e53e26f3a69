/**
 * Writing on, one token at a time, with and without the changes.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 */

import {field, figure} from "nextword/controls.js";
import {el} from "nextword/dom.js";
import {metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {samplingCode, traceCode} from "nextword/python.js";
import {addStation} from "nextword/station.js";
import {joinTokens} from "nextword/token_text.js";

const MULTI_STEP = 10;

/** @param {Context} context */
export function addGeneration(context) {
  const {store, source, generator} = context;
  /** @type {Record<"next" | "many" | "stop" | "start" | "back" | "forward" | "undo", HTMLButtonElement>} */
  let buttons;
  /** @type {HTMLInputElement} */
  let seed;
  /** @type {ReturnType<typeof figure>} */
  let edited;
  /** @type {ReturnType<typeof figure>} */
  let plain;
  /** @type {HTMLElement} */
  let note;

  addStation(context, {
    name: "walk",
    title: () => "walk.title",
    what: () => "walk.what",
    keys: ["walk", "edits", "walking", "twin", "plain", "sampling", "text"],
    needsTrace: true,
    python: drawCode,
    build: ({body, controls}) => {
      buttons = buttonsOf(context);
      seed = el("input", {type: "number", min: 0, max: 2 ** 31 - 1, step: 1});
      seed.addEventListener("change", () => {
        const value = seed.valueAsNumber;
        const {sampling} = store.get();
        if (Number.isInteger(value) && value >= 0) {
          store.set({sampling: {...sampling, seed: value}});
        } else {
          seed.value = String(sampling.seed);
        }
      });
      controls.append(...Object.values(buttons), field(t("walk.seed"), seed));
      [edited, plain] = [figure(), figure()];
      note = el("p", {class: "note"});
      body.append(el("div", {class: "columns"}, edited.root, plain.root), note);
    },
    draw: (state) => {
      const {walk, edits} = state;
      drawButtons(buttons, state, source.live, store.canUndo());
      seed.value = String(state.sampling.seed);
      const look = /** @type {Frame} */ (state.look);
      const unedited = state.twin ?? state.plain;
      const shownCount = walk?.shownCount ?? 0;
      edited.caption.textContent = edits.length === 0 ? t("walk.text") : t("walk.changed");
      edited.place.replaceChildren(generatedText(look, shownCount));
      plain.root.hidden = unedited === null || !source.live;
      if (unedited !== null) {
        plain.caption.textContent = t("walk.plain");
        const count = Math.min(shownCount, walk?.uneditedIds?.length ?? shownCount);
        plain.place.replaceChildren(generatedText(unedited, count));
      }
      const status =
        walk === null ? t("walk.nothing") : t("walk.place", {place: shownCount, count: walk.generatedIds.length});
      note.textContent = source.live ? `${status} ${t("walk.keys")}` : t("file.walk");
    },
  });
  listenToKeys(generator, store);
}

/**
 * The draw of the next token.
 *
 * @param {Readonly<State>} state
 * @returns {string}
 */
function drawCode(state) {
  if (state.look === null) {
    return "";
  }
  const seeds = `[${state.sampling.seed}, ${metadataOf(state.look).tokens.length}]`;
  const rest = `[], numpy.random.default_rng(${seeds})`;
  return traceCode(state, '["logits"][-1]', (logits) => `${samplingCode(state)}.draw(${logits}, ${rest})`);
}

/**
 * @param {Context} context
 * @returns {Record<"next" | "many" | "stop" | "start" | "back" | "forward" | "undo", HTMLButtonElement>}
 */
function buttonsOf({store, generator}) {
  /**
   * @param {string} name
   * @param {() => void} onClick
   * @param {string} [className]
   */
  const button = (name, onClick, className = "quiet") =>
    el("button", {class: className, type: "button", onClick}, name);
  return {
    next: button(t("walk.next"), () => void generator.generate(1), "primary"),
    many: button(t("walk.ten"), () => void generator.generate(MULTI_STEP)),
    stop: button(t("walk.stop"), () => generator.stop()),
    start: button(t("walk.start"), () => generator.move(-(store.get().walk?.shownCount ?? 0))),
    back: button(`← ${t("walk.back")}`, () => generator.move(-1)),
    forward: button(`${t("walk.forward")} →`, () => generator.move(1)),
    undo: button(t("changes.undo"), () => store.undo()),
  };
}

/**
 * @param {ReturnType<typeof buttonsOf>} buttons
 * @param {Readonly<State>} state
 * @param {boolean} live
 * @param {boolean} canUndo
 */
function drawButtons(buttons, {walk, walking}, live, canUndo) {
  const shownCount = walk?.shownCount ?? 0;
  buttons.next.disabled = buttons.many.disabled = walking || !live;
  buttons.stop.hidden = !walking;
  buttons.start.disabled = buttons.back.disabled = walking || shownCount === 0;
  buttons.forward.disabled = walking || shownCount === (walk?.generatedIds.length ?? 0);
  buttons.undo.disabled = walking || !live || !canUndo;
}

/**
 * The text, with what was written marked.
 *
 * @param {Frame} frame
 * @param {number} count Tokens that were written.
 * @returns {HTMLElement}
 */
function generatedText(frame, count) {
  const {tokens} = metadataOf(frame);
  const start = Math.max(tokens.length - count, 0);
  const generated = el("mark", {}, joinTokens(tokens.slice(start)));
  return el("p", {class: "written-text"}, joinTokens(tokens.slice(0, start)), generated);
}

/**
 * Space writes on, the arrow keys step through what was written, Ctrl+Z takes a change back; where nothing on the page
 * has another use for them.
 *
 * @param {Context["generator"]} generator
 * @param {Context["store"]} store
 */
function listenToKeys(generator, store) {
  const typed = "input, textarea, select, [contenteditable]";
  const pressed = `${typed}, button, summary, a, [tabindex], dialog`;
  document.addEventListener("keydown", (event) => {
    const on = event.target instanceof Element ? event.target : document.body;
    if (event.defaultPrevented || event.altKey) {
      return;
    }
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.shiftKey) {
      if (on.closest(typed) !== null || !store.canUndo() || store.get().walking) {
        return;
      }
      event.preventDefault();
      store.undo();
    } else if (event.ctrlKey || event.metaKey || event.shiftKey) {
      return;
    } else if (event.key === " " && on.closest(pressed) === null) {
      event.preventDefault();
      void generator.generate(1);
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (on.closest(`${typed}, [tabindex]`) !== null) {
        return;
      }
      if (generator.move(event.key === "ArrowLeft" ? -1 : 1)) {
        event.preventDefault();
      }
    }
  });
}
