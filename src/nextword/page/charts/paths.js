// Shapes as the text of an SVG path. Thousands of circles in one path are one element for the browser.

/**
 * @param {number} x of the middle
 * @param {number} y
 * @param {number} radius
 * @returns {string}
 */
export function circle(x, y, radius) {
  const [r, width] = [radius.toFixed(2), (2 * radius).toFixed(2)];
  return `M${(x - radius).toFixed(2)} ${y}a${r} ${r} 0 1 0 ${width} 0a${r} ${r} 0 1 0 -${width} 0`;
}

/**
 * An arrow from (x, y). Screens count y downwards, so that a positive angle is drawn counter-clockwise, as in books.
 * @param {number} x
 * @param {number} y
 * @param {number} alongX
 * @param {number} alongY
 * @returns {string}
 */
export function arrow(x, y, alongX, alongY) {
  const length = Math.hypot(alongX, alongY);
  if (length < 0.3) {
    return "";
  }
  const [endX, endY] = [x + alongX, y - alongY];
  const head = Math.min(4, length * 0.6) / length;
  const [backX, backY] = [alongX * head, alongY * head];
  const left = `${(endX - backX - backY * 0.6).toFixed(1)} ${(endY + backY - backX * 0.6).toFixed(1)}`;
  const right = `${(endX - backX + backY * 0.6).toFixed(1)} ${(endY + backY + backX * 0.6).toFixed(1)}`;
  const end = `${endX.toFixed(1)} ${endY.toFixed(1)}`;
  return `M${x} ${y}L${end}M${left}L${end}L${right}`;
}

/**
 * Straight lines from point to point; a value that is not finite leaves a gap.
 * @param {number[]} xs
 * @param {number[]} ys
 * @param {(value: number) => number} toX
 * @param {(value: number) => number} toY
 * @returns {string}
 */
export function polyline(xs, ys, toX, toY) {
  let path = "";
  let joined = false;
  xs.forEach((x, i) => {
    const [left, top] = [toX(x), toY(ys[i])];
    const drawn = Number.isFinite(left) && Number.isFinite(top);
    if (drawn) {
      path += `${joined ? "L" : "M"}${left.toFixed(1)} ${top.toFixed(1)}`;
    }
    joined = drawn;
  });
  return path;
}
