// What the colours of a picture mean: a strip of its ramp with the values at its ends.

import {legendColours} from "nextword/charts/colour.js";
import {textWidth} from "nextword/charts/measure.js";
import {redrawOnChange} from "nextword/charts/redraw.js";
import {svg} from "nextword/dom.js";

/**
 * @param {HTMLElement} container
 * @param {{left: string, middle: string, right: string}} data
 */
export function drawLegend(container, {left, middle, right}) {
  const redraw = () => {
    const [width, height] = [144, 10];
    const before = Math.ceil(textWidth(left)) + 8;
    const total = before + width + 8 + Math.ceil(textWidth(right));
    const colours = legendColours(48);
    const step = width / colours.length;
    // A hair wider than the step, or the page shows through between two of them.
    const strip = colours.map((fill, i) =>
      svg("rect", {x: before + i * step, y: 4, width: step + (i < colours.length - 1 ? 0.5 : 0), height, fill}),
    );
    container.replaceChildren(
      svg(
        "svg",
        {class: "legend", width: total, height: 30, role: "img", "aria-label": `${left} – ${right}`},
        svg("text", {x: before - 8, y: 9, dy: "0.35em", class: "axis-name"}, left),
        ...strip,
        svg("text", {x: before + width + 8, y: 9, dy: "0.35em", class: "axis-name start"}, right),
        svg("text", {x: before + width / 2, y: 26, class: "axis-name middle"}, middle),
      ),
    );
  };
  redraw();
  redrawOnChange(container, redraw, false);
}
