/**
 * The store: what is chosen and what is known, who wants to hear of changes, and the way back.
 *
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/types.js").Walk} Walk
 * @typedef {keyof State} Key
 * @typedef {Pick<State, "text" | "walk" | "edits">} UndoStep What undo brings back.
 */

const MAX_UNDO_STEPS = 200;

/** @type {State} */
const INITIAL_STATE = {
  lang: "en",
  model: null,
  text: "",
  walk: null,
  edits: [],
  sampling: {temperature: 1, top_k: null, top_p: 1, min_p: 0, seed: 1},
  layer: null,
  head: null,
  turning: {layer: 0, head: 0},
  lensMode: "probability",
  hover: null,
  look: null,
  plain: null,
  twin: null,
  quick: null,
  second: null,
  walking: false,
  about: null,
  run: null,
  busy: null,
  notice: null,
  error: null,
};

export class Store {
  /** @param {Partial<State>} [given] */
  constructor(given = {}) {
    /** @type {State} */
    this._state = {...INITIAL_STATE, ...given};
    /** @type {UndoStep[]} */
    this._undoSteps = [];
    this._typing = false;
    /** @type {{keys: Key[], listener: (changed: Set<Key>) => void}[]} */
    this._subscribers = [];
  }

  /** @returns {Readonly<State>} */
  get() {
    return this._state;
  }

  /**
   * Changes some values and tells those who asked for them.
   *
   * @param {Partial<State>} partial
   */
  set(partial) {
    const before = this._state;
    const changed = /** @type {Key[]} */ (Object.keys(partial)).filter((key) => partial[key] !== before[key]);
    if (changed.length === 0) {
      return;
    }
    this._state = {...before, ...partial};
    this._recordUndo(before);
    this._notify(changed);
  }

  /**
   * Calls back after each change of one of the keys.
   *
   * @param {Key[]} keys
   * @param {(changed: Set<Key>) => void} listener
   */
  subscribe(keys, listener) {
    this._subscribers.push({keys, listener});
  }

  /** @returns {boolean} */
  canUndo() {
    return this._undoSteps.length > 0;
  }

  /** Takes the last change of the text or of the edits back. */
  undo() {
    const step = this._undoSteps.pop();
    if (!step) {
      return;
    }
    this._typing = false;
    this._state = {...this._state, ...step};
    this._notify(["text", "walk", "edits"]);
  }

  /**
   * Keeps where things stood, if what undo brings back has changed. A word that is typed is one step, and moving
   * through what was written is none.
   *
   * @param {State} before
   */
  _recordUndo(before) {
    const now = this._state;
    const typed = now.text !== before.text;
    const generated = now.walk?.generatedIds !== before.walk?.generatedIds;
    const edited = now.edits !== before.edits;
    if (!typed && !generated && !edited) {
      return;
    }
    const typing = typed && !edited && before.walk === null;
    if (!(typing && this._typing)) {
      this._undoSteps.push({text: before.text, walk: before.walk, edits: before.edits});
      if (this._undoSteps.length > MAX_UNDO_STEPS) {
        this._undoSteps.shift();
      }
    }
    this._typing = typing;
  }

  /** @param {Key[]} changed */
  _notify(changed) {
    const keys = new Set(changed);
    for (const {keys: subscribed, listener} of this._subscribers) {
      if (subscribed.some((key) => keys.has(key))) {
        listener(keys);
      }
    }
  }
}

/**
 * The tokens that are looked at; null where it is the text as it was typed.
 *
 * @param {Readonly<State>} state
 * @param {boolean} [edited] False: those that were written without the changes.
 * @returns {number[] | null}
 */
export function inputIds({walk}, edited = true) {
  if (walk === null) {
    return null;
  }
  const ids = edited || walk.uneditedIds === null ? walk.generatedIds : walk.uneditedIds;
  return [...walk.promptIds, ...ids.slice(0, walk.shownCount)];
}
