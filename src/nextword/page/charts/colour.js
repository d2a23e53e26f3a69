// Colours for numbers. The stops stand in style.css, light and dark; between them colours are mixed in Oklab, where
// equal steps look equally large.

/** @typedef {[number, number, number]} Rgb */

const STEPS = 256;
const LINE_COLOURS = 6;

/** @type {Map<string, Rgb[]>} */
const ramps = new Map();

/**
 * @param {number} channel 0..255
 * @returns {number}
 */
function linear(channel) {
  const share = channel / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}

/**
 * @param {number} light
 * @returns {number}
 */
function companded(light) {
  const share = light <= 0.0031308 ? light * 12.92 : 1.055 * Math.max(light, 0) ** (1 / 2.4) - 0.055;
  return Math.round(Math.min(Math.max(share, 0), 1) * 255);
}

/**
 * Oklab as Björn Ottosson gives it (bottosson.github.io/posts/oklab).
 * @param {Rgb} rgb
 * @returns {Rgb}
 */
function toOklab([red, green, blue]) {
  const [r, g, b] = [linear(red), linear(green), linear(blue)];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/**
 * @param {Rgb} lab
 * @returns {Rgb}
 */
function fromOklab([lightness, a, b]) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    companded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    companded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    companded(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

/**
 * @param {string} hex "#rrggbb"
 * @returns {Rgb}
 */
function parseHex(hex) {
  const bits = Number.parseInt(hex.trim().slice(1), 16);
  return [(bits >> 16) & 255, (bits >> 8) & 255, bits & 255];
}

/**
 * @param {string} name of a custom property of the page: "--ink"
 * @returns {string}
 */
export function cssVariable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * All steps of a ramp whose stops are the custom property `name`. Kept until the theme changes.
 * @param {string} name
 * @returns {Rgb[]}
 */
function ramp(name) {
  const known = ramps.get(name);
  if (known) {
    return known;
  }
  const stops = (cssVariable(name) || "#ffffff #000000").split(/\s+/).map((hex) => toOklab(parseHex(hex)));
  /** @type {Rgb[]} */
  const steps = [];
  for (let step = 0; step <= STEPS; step += 1) {
    const at = (step / STEPS) * (stops.length - 1);
    const left = Math.min(Math.floor(at), stops.length - 2);
    const mix = at - left;
    steps.push(fromOklab(interpolate(stops[left], stops[left + 1], mix)));
  }
  ramps.set(name, steps);
  return steps;
}

/**
 * @param {Rgb} from
 * @param {Rgb} to
 * @param {number} mix
 * @returns {Rgb}
 */
function interpolate(from, to, mix) {
  return [from[0] + (to[0] - from[0]) * mix, from[1] + (to[1] - from[1]) * mix, from[2] + (to[2] - from[2]) * mix];
}

/** Forget the ramps: the theme has changed. */
export function forgetColours() {
  ramps.clear();
}

/**
 * The colour of a signed value: 0 is the middle, `limit` and -`limit` are the ends; beyond, it stays.
 * @param {number} value
 * @param {number} limit
 * @returns {Rgb}
 */
export function diverging(value, limit) {
  const share = limit > 0 ? value / limit : 0;
  return colourAt(ramp("--diverging"), (share + 1) / 2);
}

/**
 * The colour of a share, 0..1.
 * @param {number} share
 * @returns {Rgb}
 */
export function sequential(share) {
  return colourAt(ramp("--sequential"), share);
}

/**
 * @param {Rgb[]} steps
 * @param {number} share
 * @returns {Rgb}
 */
function colourAt(steps, share) {
  return steps[Math.round(Math.min(Math.max(Number.isNaN(share) ? 0 : share, 0), 1) * STEPS)];
}

/**
 * Black or white, whichever stands out more on `rgb` (WCAG contrast).
 * @param {Rgb} rgb
 * @returns {"black" | "white"}
 */
export function textOn([red, green, blue]) {
  const luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  // (L + 0.05) / 0.05 > 1.05 / (L + 0.05) exactly when L > 0.179.
  return luminance > 0.179 ? "black" : "white";
}

/**
 * @param {Rgb} rgb
 * @returns {string}
 */
export function cssColour([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}

/**
 * The colours of lines stand in style.css, by number.
 * @param {number} index of a line
 * @returns {number}
 */
export function lineColour(index) {
  return index % LINE_COLOURS;
}

/**
 * The colours of the diverging ramp from end to end, for a legend.
 * @param {number} count
 * @returns {string[]}
 */
export function legendColours(count) {
  const steps = ramp("--diverging");
  return Array.from({length: count}, (_, i) => cssColour(steps[Math.round((i / (count - 1)) * STEPS)]));
}
