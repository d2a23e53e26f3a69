/**
 * Where numbers come from when the page is a file of its own: the frames that the file holds.
 *
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").Source} Source
 */

import {metadataOf, readFrames} from "nextword/frames.js";
import {SourceError} from "nextword/source_error.js";

/**
 * The numbers that the page's own file holds.
 *
 * @implements {Source}
 */
export class FileSource {
  /** @param {Record<string, string>} frames Base64 by name. */
  constructor(frames) {
    this.live = false;
    this._frames = frames;
  }

  /**
   * @param {string} name
   * @returns {Promise<Frame>}
   */
  async _frame(name) {
    const packed = this._frames[name];
    if (packed === undefined) {
      throw new SourceError("", 404);
    }
    return readFrames(Uint8Array.from(atob(packed), (character) => character.charCodeAt(0)).buffer)[0];
  }

  /** The run without the changes, if there were any. */
  async plain() {
    return "plain" in this._frames ? this._frame("plain") : null;
  }

  async look() {
    return this._frame("look");
  }

  /**
   * @param {Frame} look
   * @param {number} layer
   */
  async block(look, layer) {
    return this._frame(`block/${layer}`);
  }

  /**
   * @param {Frame} look
   * @param {number} layer
   * @param {number} head
   */
  async turns(look, layer, head) {
    return this._frame(`turns/${layer}/${head}`);
  }

  async about() {
    const {model} = metadataOf(await this.look());
    return {...model, reason: "", memory: 0, reference_error: null, chat: false};
  }

  async run() {
    return null;
  }

  /** @returns {Promise<string[]>} */
  async models() {
    return [];
  }

  /** @returns {Promise<never>} */
  async predict() {
    throw new SourceError("", 0);
  }

  /** @returns {Promise<never>} */
  async draw() {
    throw new SourceError("", 0);
  }

  /** @returns {Promise<never>} */
  async tokenize() {
    throw new SourceError("", 0);
  }

  /** @returns {Promise<never>} */
  async stream() {
    throw new SourceError("", 0);
  }
}

/**
 * What a file holds; null where the page is served.
 *
 * @returns {{lang: string, frames: Record<string, string>} | null}
 */
export function embeddedFrames() {
  const node = document.getElementById("frames");
  return node === null ? null : JSON.parse(node.textContent ?? "");
}
