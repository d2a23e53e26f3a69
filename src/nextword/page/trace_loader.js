/**
 * Asks for what is chosen and puts the answers into the store: at once the engine's prediction, then the whole trace.
 * An answer that something newer has overtaken is dropped.
 *
 * @typedef {import("nextword/state.js").Store} Store
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").ModelFacts} ModelFacts
 * @typedef {import("nextword/types.js").PartSpec} PartSpec
 * @typedef {import("nextword/types.js").RequestInput} RequestInput
 * @typedef {import("nextword/types.js").Source} Source
 * @typedef {import("nextword/types.js").State} State
 */

import {metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {errorMessage} from "nextword/source_error.js";
import {inputIds} from "nextword/state.js";
import {beginTask, endTask, resetIdle, trackTask} from "nextword/tasks.js";

// Where a trace takes longer, the engine answers first, and the trace is begun only then: a key that is pressed
// meanwhile spares it, and the two do not share the processor.
const SLOW_TRACE_MS = 200;
const SECOND_PROMPT_DELAY_MS = 400;
const PREVIEW_TOP = 20;

export class TraceLoader {
  /**
   * @param {Store} store
   * @param {Source} source
   */
  constructor(store, source) {
    this._store = store;
    this._source = source;
    this._controller = new AbortController();
    this._secondController = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._secondTimer = undefined;
    /** @type {Promise<void>} */
    this._pending = Promise.resolve();
    this._lastTraceMs = 0;
    /** @type {Map<string, Frame>} The last frames without changes: another edit needs no second run of them. */
    this._uneditedFrames = new Map();
    /** @type {ModelFacts | null} The model's, once there is a trace of it. */
    this._model = null;
  }

  /** Traces now, and again after each change. */
  start() {
    this._store.subscribe(["text", "walk", "edits", "model"], () => this._restart());
    this._restart();
  }

  /** Traces the same again: a server that was restarted, or kept other traces, has forgotten this one. */
  reload() {
    this._uneditedFrames.clear();
    this._restart();
    return this.settled();
  }

  /**
   * The trace of what is chosen now; null where there is none.
   *
   * @returns {Promise<Frame | null>}
   */
  async settled() {
    let awaited;
    do {
      awaited = this._pending;
      await awaited;
    } while (awaited !== this._pending);
    return this._store.get().look;
  }

  /**
   * Another model: what was chosen inside the last one means nothing there.
   *
   * @param {string | null} model
   * @param {boolean} [sameShape] Whether it is the same model at another step of its training.
   */
  selectModel(model, sameShape = false) {
    const {second} = this._store.get();
    const cleared = second === null ? null : {...second, frame: null};
    if (sameShape) {
      this._store.set({model, second: cleared});
    } else {
      this._model = null;
      const turning = {layer: 0, head: 0};
      this._store.set({model, edits: [], walk: null, layer: null, head: null, turning, hover: null, second: cleared});
    }
    if (second !== null) {
      this.setSecondPrompt(second.text);
    }
  }

  /**
   * The second text, which cells are dragged from; null closes it.
   *
   * @param {string | null} text
   */
  setSecondPrompt(text) {
    if (this._secondTimer !== undefined) {
      clearTimeout(this._secondTimer);
      this._secondTimer = undefined;
      endTask();
    }
    this._secondController.abort();
    if (text === null || text === "") {
      this._store.set({second: text === null ? null : {text, frame: null}});
      return;
    }
    this._store.set({second: {text, frame: null}});
    const controller = (this._secondController = new AbortController());
    beginTask();
    this._secondTimer = setTimeout(async () => {
      this._secondTimer = undefined;
      endTask();
      try {
        const frame = await this._source.look({model: this._store.get().model, text}, [], [], controller.signal);
        if (!controller.signal.aborted) {
          this._store.set({second: {text, frame}, error: null});
        }
      } catch (error) {
        if (!controller.signal.aborted) {
          this._store.set({error: errorMessage(error)});
        }
      }
    }, SECOND_PROMPT_DELAY_MS);
  }

  _restart() {
    resetIdle();
    this._controller.abort();
    this._controller = new AbortController();
    this._pending = trackTask(this._trace(this._controller.signal));
  }

  /**
   * The engine's prediction, which needs no torch. Where it fails, the trace says why.
   *
   * @param {RequestInput} input
   * @param {AbortSignal} signal
   */
  async _predict(input, signal) {
    try {
      const quick = await this._source.predict(input, PREVIEW_TOP, signal);
      if (!signal.aborted) {
        this._store.set({quick});
      }
    } catch {
      // The trace is on its way.
    }
  }

  /** @param {AbortSignal} signal */
  async _trace(signal) {
    const state = this._store.get();
    if (state.text === "" && state.walk === null) {
      this._store.set({look: null, plain: null, twin: null, quick: null, busy: null, error: null});
      return;
    }
    this._store.set({busy: t("busy.trace")});
    const input = requestInput(state);
    const cached = this._uneditedFrames.has(JSON.stringify(input));
    if (state.edits.length === 0 && !cached && (this._model === null || this._lastTraceMs > SLOW_TRACE_MS)) {
      await this._predict(input, signal);
      if (signal.aborted) {
        return;
      }
    }
    const start = performance.now();
    try {
      const [look, plain, twin] = await Promise.all([
        state.edits.length === 0
          ? this._traceUnedited(input, this._openParts(), signal)
          : this._source.look(input, state.edits, this._openParts(), signal),
        state.edits.length === 0 ? null : this._traceUnedited(input, [], signal),
        hasDiverged(state) ? this._traceUnedited(requestInput(state, false), [], signal) : null,
      ]);
      if (signal.aborted) {
        return;
      }
      this._lastTraceMs = cached ? this._lastTraceMs : performance.now() - start;
      this._model = metadataOf(look).model;
      this._store.set({look, plain, twin, quick: null, busy: null, error: null, notice: null});
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      this._store.set({look: null, plain: null, twin: null, busy: null, error: errorMessage(error)});
    }
  }

  /**
   * What is open, and so will be drawn of the next trace too.
   *
   * @returns {PartSpec[]}
   */
  _openParts() {
    const {layer, turning} = this._store.get();
    /** @type {PartSpec[]} */
    const parts = [];
    if (this._model !== null && layer !== null) {
      parts.push({kind: "block", layer});
    }
    if (this._model?.position === "rotary") {
      parts.push({kind: "turns", ...turning});
    }
    return parts;
  }

  /**
   * @param {RequestInput} input
   * @param {PartSpec[]} parts
   * @param {AbortSignal} signal
   * @returns {Promise<Frame>}
   */
  async _traceUnedited(input, parts, signal) {
    const key = JSON.stringify(input);
    const cached = this._uneditedFrames.get(key);
    if (cached) {
      return cached;
    }
    const frame = await this._source.look(input, [], parts, signal);
    this._uneditedFrames.set(key, frame);
    const [oldest] = this._uneditedFrames.keys();
    if (this._uneditedFrames.size > 3) {
      this._uneditedFrames.delete(oldest);
    }
    return frame;
  }
}

/**
 * @param {Readonly<State>} state
 * @param {boolean} [edited]
 * @returns {RequestInput}
 */
function requestInput(state, edited = true) {
  const ids = inputIds(state, edited);
  return ids === null ? {model: state.model, text: state.text} : {model: state.model, ids};
}

/**
 * Whether the texts with and without the changes differ, as far as they are shown.
 *
 * @param {Readonly<State>} state
 * @returns {boolean}
 */
function hasDiverged(state) {
  return state.edits.length > 0 && String(inputIds(state)) !== String(inputIds(state, false));
}
