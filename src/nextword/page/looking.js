/**
 * Asks for what is chosen and puts the answers into the store: at once the engine's prediction, then the whole trace.
 * An answer that something newer has overtaken is dropped.
 *
 * @typedef {import("nextword/state.js").Store} Store
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").ModelFacts} ModelFacts
 * @typedef {import("nextword/types.js").PartSpec} PartSpec
 * @typedef {import("nextword/types.js").Source} Source
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/types.js").Subject} Subject
 */

import {begun, during, ended, hasten} from "nextword/drawn.js";
import {t} from "nextword/i18n.js";
import {SourceError} from "nextword/source.js";
import {idsOf} from "nextword/state.js";
import {aboutOf} from "nextword/words.js";

// Where a trace takes longer, the engine answers first, and the trace is begun only then: a key that is pressed meanwhile
// spares it, and the two do not share the processor.
const SLOW_MS = 200;
const SECOND_MS = 400;
const QUICK_TOP = 20;

export class Looking {
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
    this._took = 0;
    /** @type {Map<string, Frame>} The last frames without changes: another edit needs no second run of them. */
    this._unchanged = new Map();
    /** @type {ModelFacts | null} The model's, once it was looked into. */
    this._model = null;
  }

  /** Looks now, and again after each change. */
  start() {
    this._store.subscribe(["text", "walk", "edits", "model"], () => this._begin());
    this._begin();
  }

  /** Looks at the same again: a server that was restarted, or kept other traces, has forgotten this one. */
  again() {
    this._unchanged.clear();
    this._begin();
    return this.settled();
  }

  /**
   * The trace of what is chosen now; null where there is none.
   *
   * @returns {Promise<Frame | null>}
   */
  async settled() {
    let waited;
    do {
      waited = this._pending;
      await waited;
    } while (waited !== this._pending);
    return this._store.get().look;
  }

  /**
   * Another model: what was chosen inside the last one means nothing there.
   *
   * @param {string | null} model
   * @param {boolean} [sameShape] Whether it is the same model at another step of its training.
   */
  choose(model, sameShape = false) {
    const {second} = this._store.get();
    const emptied = second === null ? null : {...second, frame: null};
    if (sameShape) {
      this._store.set({model, second: emptied});
    } else {
      this._model = null;
      const turning = {layer: 0, head: 0};
      this._store.set({model, edits: [], walk: null, layer: null, head: null, turning, hover: null, second: emptied});
    }
    if (second !== null) {
      this.second(second.text);
    }
  }

  /**
   * The second text, which cells are dragged from; null closes it.
   *
   * @param {string | null} text
   */
  second(text) {
    if (this._secondTimer !== undefined) {
      clearTimeout(this._secondTimer);
      this._secondTimer = undefined;
      ended();
    }
    this._secondController.abort();
    if (text === null || text === "") {
      this._store.set({second: text === null ? null : {text, frame: null}});
      return;
    }
    this._store.set({second: {text, frame: null}});
    const controller = (this._secondController = new AbortController());
    begun();
    this._secondTimer = setTimeout(async () => {
      this._secondTimer = undefined;
      ended();
      try {
        const frame = await this._source.look({model: this._store.get().model, text}, [], [], controller.signal);
        if (!controller.signal.aborted) {
          this._store.set({second: {text, frame}, error: null});
        }
      } catch (error) {
        if (!controller.signal.aborted) {
          this._store.set({error: messageOf(error)});
        }
      }
    }, SECOND_MS);
  }

  _begin() {
    hasten();
    this._controller.abort();
    this._controller = new AbortController();
    this._pending = during(this._look(this._controller.signal));
  }

  /**
   * The engine's prediction, which needs no torch. Where it fails, the trace says why.
   *
   * @param {Subject} subject
   * @param {AbortSignal} signal
   */
  async _quick(subject, signal) {
    try {
      const quick = await this._source.predict(subject, QUICK_TOP, signal);
      if (!signal.aborted) {
        this._store.set({quick});
      }
    } catch {
      // The trace is on its way.
    }
  }

  /** @param {AbortSignal} signal */
  async _look(signal) {
    const state = this._store.get();
    if (state.text === "" && state.walk === null) {
      this._store.set({look: null, plain: null, twin: null, quick: null, busy: null, error: null});
      return;
    }
    this._store.set({busy: t("busy.trace")});
    const subject = subjectOf(state);
    const known = this._unchanged.has(JSON.stringify(subject));
    if (state.edits.length === 0 && !known && (this._model === null || this._took > SLOW_MS)) {
      await this._quick(subject, signal);
      if (signal.aborted) {
        return;
      }
    }
    const start = performance.now();
    try {
      const [look, plain, twin] = await Promise.all([
        state.edits.length === 0
          ? this._plain(subject, this._open(), signal)
          : this._source.look(subject, state.edits, this._open(), signal),
        state.edits.length === 0 ? null : this._plain(subject, [], signal),
        wentApart(state) ? this._plain(subjectOf(state, false), [], signal) : null,
      ]);
      if (signal.aborted) {
        return;
      }
      this._took = known ? this._took : performance.now() - start;
      this._model = aboutOf(look).model;
      this._store.set({look, plain, twin, quick: null, busy: null, error: null, notice: null});
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      this._store.set({look: null, plain: null, twin: null, busy: null, error: messageOf(error)});
    }
  }

  /**
   * What is open, and so will be drawn of the next trace too.
   *
   * @returns {PartSpec[]}
   */
  _open() {
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
   * @param {Subject} subject
   * @param {PartSpec[]} parts
   * @param {AbortSignal} signal
   * @returns {Promise<Frame>}
   */
  async _plain(subject, parts, signal) {
    const name = JSON.stringify(subject);
    const known = this._unchanged.get(name);
    if (known) {
      return known;
    }
    const frame = await this._source.look(subject, [], parts, signal);
    this._unchanged.set(name, frame);
    const [oldest] = this._unchanged.keys();
    if (this._unchanged.size > 3) {
      this._unchanged.delete(oldest);
    }
    return frame;
  }
}

/**
 * @param {Readonly<State>} state
 * @param {boolean} [changed]
 * @returns {Subject}
 */
function subjectOf(state, changed = true) {
  const ids = idsOf(state, changed);
  return ids === null ? {model: state.model, text: state.text} : {model: state.model, ids};
}

/**
 * Whether the texts with and without the changes differ, as far as they are shown.
 *
 * @param {Readonly<State>} state
 * @returns {boolean}
 */
function wentApart(state) {
  return state.edits.length > 0 && String(idsOf(state)) !== String(idsOf(state, false));
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function messageOf(error) {
  if (error instanceof SourceError && error.status === 0) {
    return t("error.unreachable");
  }
  return error instanceof Error ? error.message : String(error);
}
