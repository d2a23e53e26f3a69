/**
 * Where numbers come from when the page is served. In a file of its own, they come from file_source.js.
 *
 * @typedef {import("nextword/types.js").Source} Source
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").RequestInput} RequestInput
 * @typedef {import("nextword/types.js").EditSpec} EditSpec
 * @typedef {import("nextword/types.js").PartSpec} PartSpec
 * @typedef {import("nextword/types.js").Sampling} Sampling
 */

import {readFrames} from "nextword/frames.js";
import {SourceError} from "nextword/source_error.js";
import {trackTask} from "nextword/tasks.js";

/** How the server calls the model of a training step: `run@400`. */
export const STEP_PREFIX = "run@";
const KEY_NAME = "nextword-key";

/** @implements {Source} */
export class ServerSource {
  /** @param {() => Promise<string | null>} askKey Asks the reader for the API key. */
  constructor(askKey) {
    this.live = true;
    this._askKey = askKey;
    /** @type {Promise<string | null> | null} */
    this._keyRequest = null;
    /** @type {WeakMap<Frame, Map<string, Frame>>} Parts that came with a trace. */
    this._parts = new WeakMap();
  }

  /**
   * @param {RequestInput} input
   * @param {number} top
   * @param {AbortSignal} [signal]
   */
  async predict(input, top, signal) {
    return this._json("/look/predict", {...input, top}, signal);
  }

  /**
   * @param {RequestInput} input
   * @param {EditSpec[]} edits
   * @param {PartSpec[]} parts
   * @param {AbortSignal} [signal]
   */
  async look(input, edits, parts, signal) {
    const [look, ...rest] = await this._frames("/look", {...input, edits: edits.map(editBody), parts}, signal);
    this._parts.set(look, new Map(parts.map((part, i) => [partPath(part), rest[i]])));
    return look;
  }

  /**
   * @param {Frame} look
   * @param {number} layer
   */
  async block(look, layer) {
    return this._part(look, {kind: "block", layer});
  }

  /**
   * @param {Frame} look
   * @param {number} layer
   * @param {number} head
   */
  async turns(look, layer, head) {
    return this._part(look, {kind: "turns", layer, head});
  }

  /**
   * @param {Frame} look
   * @param {PartSpec} part
   * @returns {Promise<Frame>}
   */
  async _part(look, part) {
    const cached = this._parts.get(look)?.get(partPath(part));
    return cached ?? (await this._frames(`/look/${traceId(look)}/${partPath(part)}`))[0];
  }

  /**
   * @param {Frame} look
   * @param {Sampling} sampling
   */
  async draw(look, sampling) {
    return this._json(`/look/${traceId(look)}/draw`, sampling);
  }

  /**
   * @param {string} text
   * @param {string | null} model
   */
  async tokenize(text, model) {
    const body = {prompt: text, add_special_tokens: false, model};
    return (await this._json("/tokenize", body)).tokens;
  }

  async models() {
    /** @type {{data: {id: string}[]}} */
    const {data} = await this._json("/v1/models");
    return data.map(({id}) => id);
  }

  /** @param {string | null} model */
  async about(model) {
    const query = model === null ? "" : `?model=${encodeURIComponent(model)}`;
    return this._json(`/look/about${query}`);
  }

  async run() {
    return (await this._fetch("/look/run")).json();
  }

  /**
   * Server-sent events, one call each; resolves after the last. None is handed on once the signal aborts.
   *
   * @param {string} path
   * @param {object} body
   * @param {(data: any) => void} onData
   * @param {AbortSignal} signal
   */
  async stream(path, body, onData, signal) {
    const response = await this._fetch(path, body, signal);
    if (!response.body) {
      return;
    }
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let buffer = "";
    for (;;) {
      const {value, done} = await reader.read();
      buffer += decoder.decode(value, {stream: !done});
      const lines = buffer.split("\n");
      buffer = lines.pop() ?? "";
      for (const line of lines) {
        const data = line.startsWith("data: ") ? line.slice(6) : "";
        if (data === "[DONE]") {
          return;
        }
        if (data !== "") {
          signal.throwIfAborted(); // what one read brought may hold events from before the abort
          onData(JSON.parse(data));
        }
      }
      if (done) {
        return;
      }
    }
  }

  /**
   * @param {string} path
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  _json(path, body, signal) {
    return trackTask(this._fetch(path, body, signal).then((response) => response.json()));
  }

  /**
   * @param {string} path
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<Frame[]>}
   */
  _frames(path, body, signal) {
    const answer = this._fetch(path, body, signal).then((response) => response.arrayBuffer());
    return trackTask(answer.then(readFrames));
  }

  /**
   * @param {string} path
   * @param {object} [body] Without one it is a GET.
   * @param {AbortSignal} [signal]
   * @returns {Promise<Response>}
   */
  async _fetch(path, body, signal) {
    let response = await this._request(path, body, signal);
    if (response.status === 401) {
      this._keyRequest ??= this._askKey(); // several requests may be refused at once: it is asked for once
      const key = await this._keyRequest;
      this._keyRequest = null;
      if (key !== null) {
        sessionStorage.setItem(KEY_NAME, key);
        response = await this._request(path, body, signal);
      }
    }
    if (!response.ok) {
      throw new SourceError(await serverMessage(response), response.status);
    }
    return response;
  }

  /**
   * @param {string} path
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<Response>}
   */
  async _request(path, body, signal) {
    const key = sessionStorage.getItem(KEY_NAME);
    /** @type {Record<string, string>} */
    const headers = key === null ? {} : {Authorization: `Bearer ${key}`};
    if (body !== undefined) {
      headers["Content-Type"] = "application/json";
    }
    const method = body === undefined ? "GET" : "POST";
    try {
      return await fetch(path, {method, headers, body: body && JSON.stringify(body), signal});
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") {
        throw error;
      }
      throw new SourceError("", 0);
    }
  }
}

/**
 * A change as the server knows it: what is kept for the reader stays here.
 *
 * @param {EditSpec} edit
 * @returns {EditSpec}
 */
function editBody(edit) {
  return edit.kind === "token" ? {kind: "token", position: edit.position, id: edit.id} : edit;
}

/**
 * @param {PartSpec} part
 * @returns {string} Behind the trace's own address.
 */
function partPath(part) {
  return part.kind === "block" ? `block/${part.layer}` : `turns/${part.layer}/${part.head}`;
}

/**
 * @param {Frame} look
 * @returns {string}
 */
function traceId(look) {
  return encodeURIComponent(look.about.trace);
}

/**
 * @param {Response} response
 * @returns {Promise<string>}
 */
async function serverMessage(response) {
  try {
    const {error} = await response.json();
    return error.hint ? `${error.message} (${error.hint})` : error.message;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}
