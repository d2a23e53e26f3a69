/**
 * From logits to the distribution that a token is drawn from, each stage over the whole vocabulary.
 *
 * The same numbers as `nextword.generation.sampling.Stages`: what is float32 there is rounded to float32 here.
 *
 * @typedef {import("nextword/types.js").Sampling} Sampling
 *
 * @typedef {object} Stages
 * @property {Float32Array} logits The model's own.
 * @property {Float64Array} probabilities The softmax of the logits.
 * @property {Float64Array} tempered The softmax of the logits divided by the temperature.
 * @property {Uint8Array} kept 1 for the tokens that top-k, top-p and min-p leave.
 * @property {Float64Array} distribution What is drawn from: the kept ones, renormalised.
 * @property {number} discarded The probability, after temperature, of those that were cut away.
 */

const FLOAT32_TINY = 2 ** -126;
const FLOAT32_MAX = (2 - 2 ** -23) * 2 ** 127;

/**
 * @param {Float32Array} logits
 * @param {Pick<Sampling, "temperature" | "top_k" | "top_p" | "min_p">} sampling
 * @returns {Stages}
 */
export function samplingStages(logits, sampling) {
  const probabilities = softmax(logits);
  if (sampling.temperature === 0) {
    const tempered = new Float64Array(logits.length);
    tempered[argmax(logits)] = 1;
    return {logits, probabilities, tempered, kept: Uint8Array.from(tempered), distribution: tempered, discarded: 0};
  }
  const weights = applyTemperature(logits, sampling.temperature);
  const tempered = divide(weights, sum(weights));
  const largest = truncate(weights, sampling);
  const distribution = largest === null ? tempered : renormalize(weights, largest);
  const kept = new Uint8Array(logits.length);
  let discarded = 0;
  for (let i = 0; i < kept.length; i++) {
    if (distribution[i] > 0) {
      kept[i] = 1;
    } else {
      discarded += tempered[i];
    }
  }
  return {logits, probabilities, tempered, kept, distribution, discarded};
}

/**
 * Probabilities in float64.
 *
 * @param {Float32Array} logits
 * @returns {Float64Array}
 */
export function softmax(logits) {
  const largest = maximum(logits);
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < weights.length; i++) {
    weights[i] = Math.exp(logits[i] - largest);
  }
  return divide(weights, sum(weights));
}

/**
 * E to the logits divided by the temperature; the largest is moved to 0 first, so that none becomes infinite.
 *
 * @param {Float32Array} logits
 * @param {number} temperature
 * @returns {Float64Array}
 */
function applyTemperature(logits, temperature) {
  const divisor = Math.fround(Math.min(Math.max(temperature, FLOAT32_TINY), FLOAT32_MAX));
  const largest = maximum(logits);
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < weights.length; i++) {
    weights[i] = Math.exp(Math.fround(Math.fround(logits[i] - largest) / divisor));
  }
  return weights;
}

/**
 * The weights that survive, largest first; null where nothing is cut.
 *
 * @param {Float64Array} weights
 * @param {Pick<Sampling, "top_k" | "top_p" | "min_p">} sampling
 * @returns {Float64Array | null}
 */
function truncate(weights, {top_k, top_p, min_p}) {
  const size = top_k === null ? weights.length : Math.min(top_k, weights.length);
  if (size === weights.length && top_p === 1 && min_p === 0) {
    return null;
  }
  const largest = Float64Array.from(weights).sort().reverse().subarray(0, size);
  let count = size;
  if (top_p < 1) {
    // A token is kept while those before it have not reached top_p.
    const threshold = top_p * (top_k === null ? sum(weights) : sum(largest));
    let before = 0;
    let index = 0;
    while (index < size && before + largest[index] < threshold) {
      before += largest[index++];
    }
    count = Math.min(count, index + 1);
  }
  if (min_p > 0) {
    // The most probable token weighs 1.
    let index = 0;
    while (index < size && largest[index] >= min_p) {
      index++;
    }
    count = Math.min(count, index);
  }
  return largest.subarray(0, count);
}

/**
 * @param {Float64Array} weights
 * @param {Float64Array} largest Those that survive, largest first.
 * @returns {Float64Array}
 */
function renormalize(weights, largest) {
  const threshold = largest[largest.length - 1];
  const total = sum(largest);
  const distribution = new Float64Array(weights.length);
  let equal = largest.length - largest.indexOf(threshold); // of those that weigh as much, the first ids
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] > threshold || (weights[i] === threshold && equal-- > 0)) {
      distribution[i] = weights[i] / total;
    }
  }
  return distribution;
}

/**
 * The indices of the largest values, largest first, equal ones by index.
 *
 * @param {Float32Array | Float64Array} values
 * @param {number} count
 * @returns {number[]}
 */
export function topK(values, count) {
  const size = Math.min(count, values.length);
  if (size === 0) {
    return [];
  }
  const threshold = values.slice().sort()[values.length - size];
  /** @type {number[]} */
  const above = [];
  /** @type {number[]} */
  const equal = [];
  values.forEach((value, index) => {
    if (value > threshold) {
      above.push(index);
    } else if (value === threshold && equal.length < size) {
      equal.push(index);
    }
  });
  above.sort((a, b) => values[b] - values[a] || a - b);
  return [...above, ...equal].slice(0, size);
}

/**
 * @param {Float32Array} values
 * @returns {number}
 */
export function argmax(values) {
  let largest = 0;
  for (let i = 1; i < values.length; i++) {
    if (values[i] > values[largest]) {
      largest = i;
    }
  }
  return largest;
}

/**
 * @param {Float32Array} values
 * @returns {number}
 */
function maximum(values) {
  return values[argmax(values)];
}

/**
 * @param {Float64Array} values
 * @returns {number}
 */
function sum(values) {
  let total = 0;
  for (const value of values) {
    total += value;
  }
  return total;
}

/**
 * @param {Float64Array} values
 * @param {number} divisor
 * @returns {Float64Array}
 */
function divide(values, divisor) {
  const shares = new Float64Array(values.length);
  for (let i = 0; i < shares.length; i++) {
    shares[i] = values[i] / divisor;
  }
  return shares;
}
