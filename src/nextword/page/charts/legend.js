// What the colours of a picture mean: a strip of its ramp with the values at its ends.

import {svg} from "nextword/dom.js";
import {legendStops} from "nextword/charts/colour.js";
import {textWidth} from "nextword/charts/measure.js";
import {keep} from "nextword/charts/redraw.js";

/**
 * @param {HTMLElement} container
 * @param {{kind: "diverging" | "sequential", left: string, middle?: string, right: string}} data
 */
export function drawLegend(container, {kind, left, middle = "", right}) {
  const redraw = () => {
    const [width, height] = [144, 10];
    const before = Math.ceil(textWidth(left)) + 8;
    const total = before + width + 8 + Math.ceil(textWidth(right));
    const stops = legendStops(kind, 48);
    const step = width / stops.length;
    // A hair wider than the step, or the page shows through between two of them.
    const strip = stops.map((fill, i) =>
      svg("rect", {x: before + i * step, y: 4, width: step + (i < stops.length - 1 ? 0.5 : 0), height, fill}),
    );
    container.replaceChildren(
      svg(
        "svg",
        {class: "legend", width: total, height: middle ? 30 : 18, role: "img", "aria-label": `${left} – ${right}`},
        svg("text", {x: before - 8, y: 9, dy: "0.35em", class: "axis-name"}, left),
        ...strip,
        svg("text", {x: before + width + 8, y: 9, dy: "0.35em", class: "axis-name start"}, right),
        middle && svg("text", {x: before + width / 2, y: 26, class: "axis-name middle"}, middle),
      ),
    );
  };
  redraw();
  keep(container, redraw, false);
}
