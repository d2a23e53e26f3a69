/**
 * Writing on, one token at a time, with and without the changes.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 */

import {el} from "nextword/dom.js";
import {t} from "nextword/i18n.js";
import {samplingOf, traceOf} from "nextword/python.js";
import {addStation, field, figure} from "nextword/station.js";
import {aboutOf, joined} from "nextword/words.js";

const MANY = 10;

/** @param {Context} context */
export function addWalk(context) {
  const {store, source, walking} = context;
  /** @type {Record<"next" | "many" | "stop" | "start" | "back" | "forward" | "undo", HTMLButtonElement>} */
  let buttons;
  /** @type {HTMLInputElement} */
  let seed;
  /** @type {ReturnType<typeof figure>} */
  let changed;
  /** @type {ReturnType<typeof figure>} */
  let plain;
  /** @type {HTMLElement} */
  let note;

  addStation(context, {
    name: "walk",
    title: () => "walk.title",
    what: () => "walk.what",
    keys: ["walk", "edits", "walking", "twin", "plain", "sampling", "text"],
    needsLook: true,
    python: drawOf,
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
      [changed, plain] = [figure(), figure()];
      note = el("p", {class: "note"});
      body.append(el("div", {class: "columns"}, changed.root, plain.root), note);
    },
    draw: (state) => {
      const {walk, edits} = state;
      drawButtons(buttons, state, source.live, store.canUndo());
      seed.value = String(state.sampling.seed);
      const look = /** @type {Frame} */ (state.look);
      const other = state.twin ?? state.plain;
      const place = walk?.place ?? 0;
      changed.caption.textContent = edits.length === 0 ? t("walk.text") : t("walk.changed");
      changed.place.replaceChildren(written(look, place));
      plain.root.hidden = other === null || !source.live;
      if (other !== null) {
        plain.caption.textContent = t("walk.plain");
        plain.place.replaceChildren(written(other, Math.min(place, walk?.without?.length ?? place)));
      }
      const said = walk === null ? t("walk.nothing") : t("walk.place", {place, count: walk.written.length});
      note.textContent = source.live ? `${said} ${t("walk.keys")}` : t("file.walk");
    },
  });
  listenToKeys(walking, store);
}

/**
 * The draw of the next token.
 *
 * @param {Readonly<State>} state
 * @returns {string}
 */
function drawOf(state) {
  if (state.look === null) {
    return "";
  }
  const seeds = `[${state.sampling.seed}, ${aboutOf(state.look).tokens.length}]`;
  const rest = `[], numpy.random.default_rng(${seeds})`;
  return traceOf(state, '["logits"][-1]', (logits) => `${samplingOf(state)}.draw(${logits}, ${rest})`);
}

/**
 * @param {Context} context
 * @returns {Record<"next" | "many" | "stop" | "start" | "back" | "forward" | "undo", HTMLButtonElement>}
 */
function buttonsOf({store, walking}) {
  /**
   * @param {string} name
   * @param {() => void} onClick
   * @param {string} [looks]
   */
  const button = (name, onClick, looks = "quiet") => el("button", {class: looks, type: "button", onClick}, name);
  return {
    next: button(t("walk.next"), () => void walking.next(1), "primary"),
    many: button(t("walk.ten"), () => void walking.next(MANY)),
    stop: button(t("walk.stop"), () => walking.stop()),
    start: button(t("walk.start"), () => walking.move(-(store.get().walk?.place ?? 0))),
    back: button(`← ${t("walk.back")}`, () => walking.move(-1)),
    forward: button(`${t("walk.forward")} →`, () => walking.move(1)),
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
  const place = walk?.place ?? 0;
  buttons.next.disabled = buttons.many.disabled = walking || !live;
  buttons.stop.hidden = !walking;
  buttons.start.disabled = buttons.back.disabled = walking || place === 0;
  buttons.forward.disabled = walking || place === (walk?.written.length ?? 0);
  buttons.undo.disabled = walking || !live || !canUndo;
}

/**
 * The text, with what was written marked.
 *
 * @param {Frame} frame
 * @param {number} count Tokens that were written.
 * @returns {HTMLElement}
 */
function written(frame, count) {
  const {tokens} = aboutOf(frame);
  const start = Math.max(tokens.length - count, 0);
  return el("p", {class: "written-text"}, joined(tokens.slice(0, start)), el("mark", {}, joined(tokens.slice(start))));
}

/**
 * Space writes on, the arrow keys step through what was written, Ctrl+Z takes a change back; where nothing on the page
 * has another use for them.
 *
 * @param {Context["walking"]} walking
 * @param {Context["store"]} store
 */
function listenToKeys(walking, store) {
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
      void walking.next(1);
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (on.closest(`${typed}, [tabindex]`) !== null) {
        return;
      }
      if (walking.move(event.key === "ArrowLeft" ? -1 : 1)) {
        event.preventDefault();
      }
    }
  });
}
