/**
 * Reads a frame: named arrays in the safetensors format, with JSON about them.
 *
 * @typedef {import("nextword/types.js").Frame} Frame
 * @typedef {import("nextword/types.js").Tensor} Tensor
 * @typedef {import("nextword/types.js").TraceMetadata} TraceMetadata
 */

const DTYPES = {F32: Float32Array, I32: Int32Array};
const PREFIX_BYTES = 8;

/**
 * The frames that stand one behind the other.
 *
 * @param {ArrayBuffer} buffer
 * @returns {Frame[]}
 */
export function readFrames(buffer) {
  const frames = [];
  let at = 0;
  do {
    const {frame, end} = readFrame(buffer, at);
    frames.push(frame);
    at = end;
  } while (at < buffer.byteLength);
  return frames;
}

/**
 * @param {ArrayBuffer} buffer
 * @param {number} at Where the frame begins.
 * @returns {{frame: Frame, end: number}} The frame, and where it ends.
 */
function readFrame(buffer, at) {
  if (buffer.byteLength < at + PREFIX_BYTES) {
    throw new Error("a frame is cut off");
  }
  const size = Number(new DataView(buffer).getBigUint64(at, true));
  const start = at + PREFIX_BYTES + size;
  if (start > buffer.byteLength) {
    throw new Error("a frame's header is longer than the frame");
  }
  const {__metadata__: metadata, ...entries} = JSON.parse(
    new TextDecoder().decode(new Uint8Array(buffer, at + PREFIX_BYTES, size)),
  );
  if (metadata?.version !== "1") {
    throw new Error(`a frame has version ${metadata?.version}, this page reads 1`);
  }
  /** @type {Record<string, Tensor>} */
  const tensors = {};
  let end = start;
  for (const [name, entry] of Object.entries(entries)) {
    tensors[name] = readTensor(buffer, start, name, entry);
    end = Math.max(end, start + entry.data_offsets[1]);
  }
  return {frame: {about: JSON.parse(metadata.about), tensors}, end};
}

/**
 * @param {ArrayBuffer} buffer
 * @param {number} start Where the data begins.
 * @param {string} name
 * @param {any} entry
 * @returns {Tensor}
 */
function readTensor(buffer, start, name, entry) {
  const Kind = DTYPES[/** @type {keyof typeof DTYPES} */ (entry.dtype)];
  if (!Kind) {
    throw new Error(`${name} is ${entry.dtype}, this page reads F32 and I32`);
  }
  /** @type {number[]} */
  const shape = entry.shape;
  const [from, to] = entry.data_offsets;
  const count = shape.reduce((product, length) => product * length, 1);
  if (to - from !== count * Kind.BYTES_PER_ELEMENT || start + to > buffer.byteLength) {
    throw new Error(`${name} has another size than its shape says`);
  }
  const offset = start + from;
  const aligned = offset % Kind.BYTES_PER_ELEMENT === 0;
  const data = aligned ? new Kind(buffer, offset, count) : new Kind(buffer.slice(offset, start + to));
  return {data, shape};
}

/**
 * What a look frame is about.
 *
 * @param {Frame} look
 * @returns {TraceMetadata}
 */
export function metadataOf(look) {
  return look.about;
}

/**
 * @param {Frame} frame
 * @param {string} name
 * @returns {boolean}
 */
export function has(frame, name) {
  return name in frame.tensors;
}

/**
 * @param {Frame} frame
 * @param {string} name
 * @returns {Tensor}
 */
function tensor(frame, name) {
  const found = frame.tensors[name];
  if (!found) {
    throw new Error(`the frame has no ${name}`);
  }
  return found;
}

/**
 * All numbers of an array, row by row.
 *
 * @param {Frame} frame
 * @param {string} name
 * @returns {Float32Array}
 */
export function floats(frame, name) {
  const {data} = tensor(frame, name);
  if (!(data instanceof Float32Array)) {
    throw new Error(`${name} holds no floats`);
  }
  return data;
}

/**
 * @param {Frame} frame
 * @param {string} name
 * @returns {Int32Array}
 */
export function ids(frame, name) {
  const {data} = tensor(frame, name);
  if (!(data instanceof Int32Array)) {
    throw new Error(`${name} holds no ids`);
  }
  return data;
}

/**
 * @param {Frame} frame
 * @param {string} name
 * @returns {number[]}
 */
export function shape(frame, name) {
  return tensor(frame, name).shape;
}

/**
 * One slice along the first axis; it shares the array's memory.
 *
 * @param {Frame} frame
 * @param {string} name
 * @param {number} index
 * @returns {Float32Array}
 */
export function slice(frame, name, index) {
  const lengths = shape(frame, name);
  const size = lengths.slice(1).reduce((product, length) => product * length, 1);
  if (index < 0 || index >= lengths[0]) {
    throw new Error(`${name} has no slice ${index}`);
  }
  return floats(frame, name).subarray(index * size, (index + 1) * size);
}

/**
 * The largest absolute value of some arrays: the end of a scale that they share.
 *
 * @param {...Float32Array} arrays
 * @returns {number}
 */
export function limit(...arrays) {
  let largest = 0;
  for (const values of arrays) {
    for (const value of values) {
      largest = Math.max(largest, Math.abs(value));
    }
  }
  return largest;
}
