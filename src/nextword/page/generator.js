/**
 * Generation: a token is drawn, joins the text, and the next one is predicted.
 *
 * @typedef {import("nextword/state.js").Store} Store
 * @typedef {import("nextword/trace_loader.js").TraceLoader} TraceLoader
 * @typedef {import("nextword/types.js").SampledToken} SampledToken
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").Source} Source
 * @typedef {import("nextword/types.js").Walk} Walk
 */

import {metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {errorMessage, SourceError} from "nextword/source_error.js";

export class Generator {
  /**
   * @param {Store} store
   * @param {Source} source
   * @param {TraceLoader} traceLoader
   */
  constructor(store, source, traceLoader) {
    this._store = store;
    this._source = source;
    this._traceLoader = traceLoader;
    this._stopped = false;
  }

  /**
   * Draws tokens and appends each.
   *
   * @param {number} count
   */
  async generate(count) {
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
      this._store.set({error: errorMessage(error)});
    } finally {
      this._store.set({walking: false});
    }
  }

  /** Ends `generate` after the token that is under way. */
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
    this._appendToken(look, id, edits.length > 0 ? id : null);
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
    const shownCount = walk.shownCount + by;
    if (shownCount < 0 || shownCount > walk.generatedIds.length) {
      return false;
    }
    this._store.set({walk: {...walk, shownCount}, hover: null});
    return true;
  }

  /** @returns {Promise<boolean>} Whether the text goes on. */
  async _step() {
    if ((await this._traceLoader.settled()) === null) {
      return false;
    }
    let sampled;
    try {
      sampled = await this._sample();
    } catch (error) {
      if (!(error instanceof SourceError && error.status === 404)) {
        throw error;
      }
      await this._traceLoader.reload(); // the server has forgotten the trace
      sampled = await this._sample();
    }
    const {look} = this._store.get();
    if (sampled === null || look === null) {
      return false;
    }
    const [edited, unedited] = sampled;
    if (edited.end) {
      this._store.set({notice: t("walk.ended")});
      return false;
    }
    this._appendToken(look, edited.id, unedited === null || unedited.end ? null : unedited.id);
    await this._traceLoader.settled();
    return this._store.get().look !== null;
  }

  /** @returns {Promise<[SampledToken, SampledToken | null] | null>} With and without the changes. */
  async _sample() {
    const {look, plain, twin, edits, sampling} = this._store.get();
    if (look === null) {
      return null;
    }
    const unedited = edits.length > 0 ? (twin ?? plain) : null;
    const edited = await this._source.draw(look, sampling);
    return [edited, unedited === null ? null : await this._source.draw(unedited, sampling)];
  }

  /**
   * @param {Frame} look
   * @param {number} id
   * @param {number | null} uneditedId What the text without the changes takes; null for nothing.
   */
  _appendToken(look, id, uneditedId) {
    const {walk: before, edits} = this._store.get();
    const {tokens} = metadataOf(look);
    const {promptIds, generatedIds, uneditedIds, shownCount} = before ?? {
      promptIds: tokens.map((token) => token.id),
      generatedIds: [],
      uneditedIds: null,
      shownCount: 0,
    };
    const unedited = (uneditedIds ?? generatedIds).slice(0, shownCount);
    if (uneditedId !== null) {
      unedited.push(uneditedId);
    }
    const walk = {
      promptIds,
      generatedIds: [...generatedIds.slice(0, shownCount), id],
      uneditedIds: edits.length > 0 ? unedited : null,
      shownCount: shownCount + 1,
    };
    this._store.set({walk, hover: null});
  }
}
