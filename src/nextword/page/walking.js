/**
 * Writing on: a token is drawn, joins the text, and the next one is predicted.
 *
 * @typedef {import("nextword/state.js").Store} Store
 * @typedef {import("nextword/looking.js").Looking} Looking
 * @typedef {import("nextword/types.js").Drawn} Drawn
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").LookAbout} LookAbout
 * @typedef {import("nextword/types.js").Source} Source
 * @typedef {import("nextword/types.js").Walk} Walk
 */

import {t} from "nextword/i18n.js";
import {messageOf} from "nextword/looking.js";
import {SourceError} from "nextword/source.js";

export class Walking {
  /**
   * @param {Store} store
   * @param {Source} source
   * @param {Looking} looking
   */
  constructor(store, source, looking) {
    this._store = store;
    this._source = source;
    this._looking = looking;
    this._stopped = false;
  }

  /**
   * Draws tokens and appends each.
   *
   * @param {number} count
   */
  async next(count) {
    if (this._store.get().walking || !this._source.live) {
      return;
    }
    this._stopped = false;
    this._store.set({walking: true, notice: null});
    try {
      for (let i = 0; i < count && !this._stopped; i++) {
        if (!(await this._step())) {
          break;
        }
      }
    } catch (error) {
      this._store.set({error: messageOf(error)});
    } finally {
      this._store.set({walking: false});
    }
  }

  /** Ends `next` after the token that is under way. */
  stop() {
    this._stopped = true;
  }

  /**
   * Takes a token that the reader has chosen; the text without the changes, if there is one, takes it too.
   *
   * @param {number} id
   */
  append(id) {
    const {look, walking, edits} = this._store.get();
    if (look === null || walking || !this._source.live) {
      return;
    }
    this._join(look, id, edits.length > 0 ? id : null);
  }

  /**
   * Steps through what was written.
   *
   * @param {number} by -1 is back by one token.
   * @returns {boolean} Whether there was such a step.
   */
  move(by) {
    const {walk, walking} = this._store.get();
    if (walk === null || walking) {
      return false;
    }
    const place = walk.place + by;
    if (place < 0 || place > walk.written.length) {
      return false;
    }
    this._store.set({walk: {...walk, place}, hover: null});
    return true;
  }

  /** @returns {Promise<boolean>} Whether the text goes on. */
  async _step() {
    if ((await this._looking.settled()) === null) {
      return false;
    }
    let drawn;
    try {
      drawn = await this._draw();
    } catch (error) {
      if (!(error instanceof SourceError && error.status === 404)) {
        throw error;
      }
      await this._looking.again(); // the server has forgotten the trace
      drawn = await this._draw();
    }
    const {look} = this._store.get();
    if (drawn === null || look === null) {
      return false;
    }
    const [changed, without] = drawn;
    if (changed.end) {
      this._store.set({notice: t("walk.ended")});
      return false;
    }
    this._join(look, changed.id, without === null || without.end ? null : without.id);
    await this._looking.settled();
    return this._store.get().look !== null;
  }

  /** @returns {Promise<[Drawn, Drawn | null] | null>} With and without the changes. */
  async _draw() {
    const {look, plain, twin, edits, sampling} = this._store.get();
    if (look === null) {
      return null;
    }
    const other = edits.length > 0 ? (twin ?? plain) : null;
    const changed = await this._source.draw(look, sampling);
    return [changed, other === null ? null : await this._source.draw(other, sampling)];
  }

  /**
   * @param {Frame} look
   * @param {number} id
   * @param {number | null} withoutId What the text without the changes takes; null for nothing.
   */
  _join(look, id, withoutId) {
    const {walk, edits} = this._store.get();
    const {tokens} = /** @type {LookAbout} */ (look.about);
    const {base, written, without, place} = walk ?? {
      base: tokens.map((token) => token.id),
      written: [],
      without: null,
      place: 0,
    };
    const kept = written.slice(0, place);
    const other = (without ?? written).slice(0, place);
    if (withoutId !== null) {
      other.push(withoutId);
    }
    this._store.set({
      walk: {base, written: [...kept, id], without: edits.length > 0 ? other : null, place: place + 1},
      hover: null,
    });
  }
}
