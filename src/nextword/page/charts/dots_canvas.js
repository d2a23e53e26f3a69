// The dots of a long text: a canvas that stands still in the scroll box and shows the part that is in sight.

import {cssVariable} from "nextword/charts/colour.js";
import {onceAFrame} from "nextword/dom.js";

/** @typedef {{weights: Float32Array, count: number, cell: number, left: number, top: number}} Dots */

/**
 * @typedef {object} Painter
 * @property {(dots: Dots) => void} paint
 * @property {() => void} stop
 * @property {(x: number, y: number) => void} reveal scroll so that a point of the plane is in sight
 */

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Dots} dots
 * @param {number} x of the first pixel in sight
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
function paintPart(pen, {weights, count, cell}, x, y, width, height) {
  const [firstRow, lastRow] = [Math.floor(y / cell), Math.min(count - 1, Math.floor((y + height) / cell))];
  const [firstColumn, lastColumn] = [Math.floor(x / cell), Math.min(count - 1, Math.floor((x + width) / cell))];
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = cssVariable("--plane");
  for (let row = firstRow; row <= lastRow; row += 1) {
    pen.fillRect(-x, row * cell - y, (row + 1) * cell, cell);
  }
  pen.fillStyle = cssVariable("--dot");
  pen.beginPath();
  for (let row = firstRow; row <= lastRow; row += 1) {
    for (let column = firstColumn; column <= Math.min(row, lastColumn); column += 1) {
      const radius = Math.sqrt(Math.max(weights[row * count + column], 0)) * (cell / 2 - 0.5);
      if (radius > 0.05) {
        const [middleX, middleY] = [(column + 0.5) * cell - x, (row + 0.5) * cell - y];
        pen.moveTo(middleX + radius, middleY);
        pen.arc(middleX, middleY, radius, 0, 2 * Math.PI);
      }
    }
  }
  pen.fill();
}

/**
 * @param {HTMLElement} scroll
 * @param {HTMLCanvasElement} canvas
 * @returns {Painter}
 */
export function buildPainter(scroll, canvas) {
  /** @type {Dots | null} */
  let dots = null;
  // While the picture is saved it is painted whole.
  let whole = false;

  const paint = () => {
    const pen = canvas.getContext("2d");
    if (!dots || !pen) {
      return;
    }
    const all = dots.count * dots.cell;
    const width = whole ? all : Math.min(all, Math.max(0, scroll.clientWidth - dots.left));
    const height = whole ? all : Math.min(all, Math.max(0, scroll.clientHeight - dots.top));
    const ratio = whole ? 1 : devicePixelRatio || 1;
    const [pixelsX, pixelsY] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== pixelsX || canvas.height !== pixelsY) {
      canvas.width = pixelsX;
      canvas.height = pixelsY;
      canvas.style.setProperty("width", `${width}px`);
      canvas.style.setProperty("height", `${height}px`);
    }
    canvas.style.setProperty("left", `${dots.left}px`);
    canvas.style.setProperty("top", `${dots.top}px`);
    const x = whole ? 0 : Math.min(scroll.scrollLeft, all - width);
    const y = whole ? 0 : Math.min(scroll.scrollTop, all - height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    paintPart(pen, dots, Math.max(0, x), Math.max(0, y), width, height);
  };
  const soon = onceAFrame(paint);
  scroll.addEventListener("scroll", soon, {passive: true});
  scroll.addEventListener("beforesave", () => {
    whole = true;
    paint();
  });
  scroll.addEventListener("aftersave", () => {
    whole = false;
    paint();
  });

  return {
    paint: (next) => {
      dots = next;
      canvas.hidden = false;
      paint();
      // The box may get its size only now that the plane has its own.
      soon();
    },
    stop: () => {
      dots = null;
      canvas.hidden = true;
    },
    reveal: (x, y) => {
      const [left, top] = dots ? [dots.left, dots.top] : [0, 0];
      const [width, height] = [scroll.clientWidth - left, scroll.clientHeight - top];
      if (x < scroll.scrollLeft + 8 || x > scroll.scrollLeft + width - 8) {
        scroll.scrollLeft = x - width / 2;
      }
      if (y < scroll.scrollTop + 8 || y > scroll.scrollTop + height - 8) {
        scroll.scrollTop = y - height / 2;
      }
    },
  };
}
