// Numbers as they are written on the page.

/**
 * A number in `digits` significant digits, never in exponent form where it can be read without; a real minus sign.
 * @param {number} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatNumber(value, digits = 3) {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  }
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return value.toExponential(digits - 1).replace(/-/g, "−");
  }
  const whole = size === 0 ? 1 : Math.floor(Math.log10(size)) + 1;
  return value.toFixed(Math.min(Math.max(digits - whole, 0), 8)).replace("-", "−");
}

/**
 * A number with its sign.
 * @param {number} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatSigned(value, digits = 3) {
  return (value > 0 ? "+" : "") + formatNumber(value, digits);
}

/**
 * A share of one as a percentage: 34.2%, 0.82%, 0.0041%. Less than a millionth is said to be so, not rounded to 0.
 * @param {number} share
 * @returns {string}
 */
export function formatPercent(share) {
  const value = share * 100;
  if (!Number.isFinite(value)) {
    return formatNumber(value);
  }
  if (value === 0) {
    return "0%";
  }
  if (value < 1e-4) {
    return "<0.0001%";
  }
  return `${value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) : value.toPrecision(2)}%`;
}

/**
 * A whole number in groups of three: 8,192.
 * @param {number} value
 * @returns {string}
 */
export function groupThousands(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * A size in bytes: 12.3 MB.
 * @param {number} size
 * @returns {string}
 */
export function formatBytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : formatNumber(size, 3)} ${units[unit]}`;
}
