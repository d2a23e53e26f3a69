/**
 * A station: its frame, when it is built, and when it is drawn again.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/i18n.js").TextKey} TextKey
 *
 * @typedef {object} Station
 * @property {string} name Of the section, and of files that are saved.
 * @property {(place: {body: HTMLElement, controls: HTMLElement}) => void} build Makes what stays: controls, and places
 *   for pictures. Called again after a change of language.
 * @property {(state: Readonly<State>) => void} draw Draws what changes.
 * @property {(keyof State)[]} keys What it is drawn from.
 * @property {(state: Readonly<State>) => string} python
 * @property {(state: Readonly<State>) => TextKey} title
 * @property {(state: Readonly<State>) => TextKey} what
 * @property {boolean} needsTrace Whether there is something to draw only after a trace.
 */

import {byId, clear, el, onceAFrame} from "nextword/dom.js";
import {t} from "nextword/i18n.js";
import {makePanel} from "nextword/panel.js";
import {SourceError} from "nextword/source_error.js";

/**
 * @param {Context} context
 * @param {Station} station
 */
export function addStation({store}, station) {
  const panel = makePanel(byId(station.name), panelTexts(station, store.get()));
  const content = el("div", {class: "stack"});
  const note = el("p", {class: "note"});
  /** What stands around the pictures. @returns {boolean} Whether there are any. */
  const updatePanel = () => {
    const state = store.get();
    panel.update(panelTexts(station, state));
    const waiting = station.needsTrace && state.look === null;
    content.hidden = panel.controls.hidden = waiting;
    note.hidden = !waiting;
    if (waiting) {
      note.textContent = waitingText(state);
    }
    return !waiting;
  };
  const draw = () => {
    if (updatePanel()) {
      station.draw(store.get());
    }
  };
  const build = () => {
    clear(content);
    clear(panel.controls);
    panel.body.replaceChildren(note, content);
    station.build({body: content, controls: panel.controls});
    draw();
  };
  store.subscribe(["lang"], build);
  store.subscribe([...station.keys, "look", "error"], onceAFrame(draw));
  store.subscribe(["text", "walk", "edits", "sampling"], onceAFrame(updatePanel));
  build();
}

/**
 * @param {Station} station
 * @param {Readonly<State>} state
 * @returns {import("nextword/panel.js").PanelTexts}
 */
function panelTexts(station, state) {
  return {
    name: station.name,
    title: t(station.title(state)),
    question: t("panel.what"),
    answer: t(station.what(state)),
    code: station.python(state),
    copy: t("panel.copy"),
    copied: t("panel.copied"),
    saveSvg: t("panel.svg"),
    savePng: t("panel.png"),
  };
}

/**
 * @param {Readonly<State>} state
 * @returns {string}
 */
function waitingText({text, walk, error}) {
  if (text === "" && walk === null) {
    return t("waiting.text");
  }
  return error === null ? t("waiting.look") : t("waiting.failed");
}

/**
 * A part of the current trace. A server that no longer has the trace is asked for it once more.
 *
 * @param {Context} context
 * @param {Frame} look
 * @param {(look: Frame) => Promise<Frame>} load
 * @returns {Promise<Frame>}
 */
export async function loadPart({source, traceLoader}, look, load) {
  try {
    return await load(look);
  } catch (error) {
    const forgotten = error instanceof SourceError && error.status === 404;
    if (!forgotten || !source.live) {
      throw error;
    }
    const reloaded = await traceLoader.reload();
    if (reloaded === null) {
      throw error;
    }
    return load(reloaded);
  }
}
