// A panel's pictures as one file that looks like the screen. SVGs are copied with their colours resolved, canvases
// become images, and what is HTML (bars, grids, captions) is drawn again as rectangles and texts
// where the browser had put it.

import {cssVariable} from "nextword/charts/colour.js";
import {textWidth} from "nextword/charts/measure.js";
import {drawElement} from "nextword/charts/save_html.js";
import {xmlText} from "nextword/charts/save_svg.js";
import {svg} from "nextword/dom.js";

/**
 * @param {HTMLElement} container
 * @param {string} title
 * @returns {SVGSVGElement}
 */
function renderSheet(container, title) {
  const boxes = Array.from(container.querySelectorAll(".scroll"));
  // All of a picture goes into the file, also what is scrolled out of sight. Nothing of this is painted on the screen:
  // the browser paints when this function is done.
  container.classList.add("saving");
  boxes.forEach((box) => box.dispatchEvent(new Event("beforesave")));
  const drawing = svg("g");
  /** @type {import("nextword/charts/save_html.js").Sheet} */
  const sheet = {origin: container.getBoundingClientRect(), width: 0, height: 0};
  try {
    for (const child of Array.from(container.children)) {
      drawElement(sheet, child, drawing);
    }
  } finally {
    container.classList.remove("saving");
    boxes.forEach((box) => box.dispatchEvent(new Event("aftersave")));
  }
  const margin = 20;
  const family = cssVariable("--sans");
  const head = 34;
  const width = Math.ceil(Math.max(sheet.width, textWidth(title, `600 17px ${family}`)) + 2 * margin);
  const height = Math.ceil(sheet.height + head + 2 * margin);
  drawing.setAttribute("transform", `translate(${margin} ${margin + head})`);
  return svg(
    "svg",
    {width, height, viewBox: `0 0 ${width} ${height}`},
    svg("title", {}, xmlText(title)),
    svg("rect", {width, height, fill: cssVariable("--surface")}),
    svg(
      "text",
      {
        x: margin,
        y: margin + 16,
        "font-family": family,
        "font-size": 17,
        "font-weight": 600,
        fill: cssVariable("--ink"),
      },
      xmlText(title),
    ),
    drawing,
  );
}

/**
 * The pictures in `container` as the text of an SVG file that needs nothing else.
 * @param {HTMLElement} container
 * @param {string} title
 * @returns {string}
 */
function svgText(container, title) {
  return new XMLSerializer().serializeToString(renderSheet(container, title));
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // Some browsers read the blob only after the click has been handled.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * @param {HTMLElement} container
 * @param {string} name of the file, without ".svg"
 * @param {string} title
 */
export function saveSvg(container, name, title) {
  download(new Blob([svgText(container, title)], {type: "image/svg+xml"}), `${name}.svg`);
}

/**
 * The pictures in `container` as a PNG, two pixels a px where that is not too large for a browser.
 * @param {HTMLElement} container
 * @param {string} title
 * @returns {Promise<Blob>}
 */
async function renderPng(container, title) {
  const sheet = renderSheet(container, title);
  const [width, height] = [Number(sheet.getAttribute("width")), Number(sheet.getAttribute("height"))];
  const ratio = Math.min(2, 16_000 / Math.max(width, height), Math.sqrt(60_000_000 / (width * height)));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(sheet))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser made no PNG."))), "image/png");
  });
}

/**
 * @param {HTMLElement} container
 * @param {string} name of the file, without ".png"
 * @param {string} title
 */
export async function savePng(container, name, title) {
  download(await renderPng(container, title), `${name}.png`);
}
