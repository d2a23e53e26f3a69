// What is HTML in a picture (bars, grids, captions), drawn as SVG where the browser has put it.

import {cssVariable} from "nextword/charts/colour.js";
import {fitText} from "nextword/charts/measure.js";
import {standaloneSvg, xmlText} from "nextword/charts/save_svg.js";
import {svg} from "nextword/dom.js";

/**
 * @typedef {object} Sheet
 * @property {DOMRect} origin
 * @property {number} width
 * @property {number} height
 */

const SKIPPED = "[data-save=skip], .controls, .visually-hidden, input, select, textarea, summary, script";
const CLEAR = new Set(["rgba(0, 0, 0, 0)", "transparent"]);

/**
 * @param {Sheet} sheet
 * @param {DOMRect} box
 * @returns {{x: number, y: number, width: number, height: number}}
 */
function placeBox(sheet, box) {
  const place = {x: box.left - sheet.origin.left, y: box.top - sheet.origin.top, width: box.width, height: box.height};
  sheet.width = Math.max(sheet.width, place.x + place.width);
  sheet.height = Math.max(sheet.height, place.y + place.height);
  return place;
}

/**
 * The lines over a shaded cell of a lens grid.
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @returns {string}
 */
function hatching(x, y, width, height) {
  let lines = "";
  for (let sum = 6; sum < width + height; sum += 11) {
    const [from, to] = [Math.max(0, sum - height), Math.min(width, sum)];
    lines += `M${(x + from).toFixed(1)} ${(y + sum - from).toFixed(1)}`;
    lines += `L${(x + to).toFixed(1)} ${(y + sum - to).toFixed(1)}`;
  }
  return lines;
}

/**
 * Background and borders of an HTML element.
 * @param {Sheet} sheet
 * @param {HTMLElement} element
 * @param {CSSStyleDeclaration} style
 * @param {SVGElement} out
 */
function drawBox(sheet, element, style, out) {
  const box = element.getBoundingClientRect();
  if (box.width === 0 || box.height === 0) {
    return;
  }
  const sides = /** @type {const} */ (["Top", "Right", "Bottom", "Left"]);
  const widths = sides.map((side) => Number.parseFloat(style[`border${side}Width`]) || 0);
  const colours = sides.map((side) => style[`border${side}Color`]);
  const even = widths.every((width, i) => width === widths[0] && colours[i] === colours[0]);
  const filled = !CLEAR.has(style.backgroundColor);
  const edged = widths[0] > 0 && !CLEAR.has(colours[0]);
  const {x, y, width, height} = placeBox(sheet, box);
  const rx = Math.min(Number.parseFloat(style.borderTopLeftRadius) || 0, width / 2, height / 2);
  if (filled || (even && edged)) {
    const inset = even && edged ? widths[0] / 2 : 0;
    out.append(
      svg("rect", {
        x: x + inset,
        y: y + inset,
        width: width - 2 * inset,
        height: height - 2 * inset,
        rx: Math.max(0, rx - inset),
        fill: filled ? style.backgroundColor : "none",
        stroke: inset > 0 ? colours[0] : null,
        "stroke-width": inset > 0 ? widths[0] : null,
      }),
    );
  }
  if (element.classList.contains("shaded")) {
    out.append(svg("path", {d: hatching(x, y, width, height), stroke: cssVariable("--hatch"), fill: "none"}));
  }
  if (!even) {
    const [top, right, bottom, left] = widths;
    const edges = [
      [x, y, width, top],
      [x + width - right, y, right, height],
      [x, y + height - bottom, width, bottom],
      [x, y, left, height],
    ];
    edges.forEach(([edgeX, edgeY, edgeWidth, edgeHeight], i) => {
      if (widths[i] > 0 && !CLEAR.has(colours[i])) {
        out.append(svg("rect", {x: edgeX, y: edgeY, width: edgeWidth, height: edgeHeight, fill: colours[i]}));
      }
    });
  }
}

/**
 * The lines that the browser broke a text into.
 * @param {Text} node
 * @returns {{text: string, box: DOMRect}[]}
 */
function linesOf(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const boxes = Array.from(range.getClientRects()).filter((box) => box.width > 0);
  if (boxes.length <= 1) {
    return boxes.map((box) => ({text: node.data, box}));
  }
  /** @type {{text: string, box: DOMRect}[]} */
  const lines = [];
  let at = 0;
  for (const character of node.data) {
    range.setStart(node, at);
    range.setEnd(node, at + character.length);
    at += character.length;
    const box = range.getClientRects()[0];
    const last = lines[lines.length - 1];
    if (box && last && Math.abs(last.box.top - box.top) < box.height / 2) {
      last.text += character;
      last.box = new DOMRect(last.box.left, last.box.top, box.right - last.box.left, last.box.height);
    } else if (box && box.width > 0) {
      lines.push({text: character, box});
    }
  }
  return lines;
}

/**
 * @param {Sheet} sheet
 * @param {Text} node
 * @param {HTMLElement} parent
 * @param {CSSStyleDeclaration} style of the parent
 * @param {SVGElement} out
 */
function drawText(sheet, node, parent, style, out) {
  const font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  const room = parent.clientWidth - Number.parseFloat(style.paddingLeft) - Number.parseFloat(style.paddingRight);
  const cut = style.textOverflow === "ellipsis" && parent.scrollWidth > parent.clientWidth;
  for (const {text, box} of linesOf(node)) {
    const plain = style.whiteSpace.startsWith("pre") ? text : text.replace(/\s+/g, " ");
    const words = cut ? fitText(plain, room, font) : plain;
    const size = Number.parseFloat(style.fontSize);
    placeBox(sheet, new DOMRect(box.left, box.top, Math.min(box.width, cut ? room : Infinity), box.height));
    out.append(
      svg(
        "text",
        {
          x: (box.left - sheet.origin.left).toFixed(2),
          // The box of a line of text reaches from the font's ascent to its descent, about 4 : 1 of its height.
          y: (box.top - sheet.origin.top + box.height / 2 + size * 0.35).toFixed(2),
          fill: style.color,
          "font-family": style.fontFamily,
          "font-size": style.fontSize,
          "font-weight": style.fontWeight === "400" ? null : style.fontWeight,
          "text-decoration": style.textDecorationLine === "none" ? null : style.textDecorationLine,
          "xml:space": "preserve",
        },
        xmlText(words),
      ),
    );
  }
}

/**
 * An element and all in it.
 * @param {Sheet} sheet grows to hold it
 * @param {Element} element
 * @param {SVGElement} out what is drawn is added here
 */
export function drawElement(sheet, element, out) {
  if (element.matches(SKIPPED)) {
    return;
  }
  const style = getComputedStyle(element);
  if (style.display === "none" || style.visibility === "hidden") {
    return;
  }
  if (style.opacity !== "1") {
    const group = svg("g", {opacity: style.opacity});
    out.append(group);
    out = group;
  }
  if (element instanceof SVGSVGElement) {
    const {x, y, width, height} = placeBox(sheet, element.getBoundingClientRect());
    out.append(standaloneSvg(element, x, y, width, height));
    return;
  }
  if (!(element instanceof HTMLElement)) {
    return;
  }
  drawBox(sheet, element, style, out);
  if (element instanceof HTMLCanvasElement) {
    if (element.width > 0 && element.height > 0) {
      const {x, y, width, height} = placeBox(sheet, element.getBoundingClientRect());
      const href = element.toDataURL("image/png");
      const how = {preserveAspectRatio: "none", "image-rendering": "pixelated"};
      out.append(svg("image", {x, y, width, height, href, ...how}));
    }
    return;
  }
  for (const child of Array.from(element.childNodes)) {
    if (child instanceof Text) {
      if (child.data.trim() !== "") {
        drawText(sheet, child, element, style, out);
      }
    } else if (child instanceof Element) {
      drawElement(sheet, child, out);
    }
  }
}
