// A copy of an SVG that stands on its own: what the style sheet says is written into the elements.

const SHAPE = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-opacity",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linecap",
  "stroke-linejoin",
];
const TEXT = [
  "fill",
  "font-family",
  "font-size",
  "font-weight",
  "text-anchor",
  "stroke",
  "stroke-width",
  "paint-order",
];

/** What an element has without being told; leaving it out keeps the file small. @type {Record<string, string>} */
const DEFAULTS = {
  "fill-opacity": "1",
  stroke: "none",
  "stroke-opacity": "1",
  "stroke-width": "1px",
  "stroke-dasharray": "none",
  "stroke-linecap": "butt",
  "stroke-linejoin": "miter",
  "font-weight": "400",
  "text-anchor": "start",
  "paint-order": "normal",
};

/**
 * A text that an XML file can hold: control characters are shown by their pictures (U+2400 and on).
 * @param {string} text
 * @returns {string}
 */
export function xmlText(text) {
  let out = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const lone = code >= 0xd800 && code <= 0xdfff;
    if (code < 0x20) {
      out += String.fromCodePoint(0x2400 + code);
    } else if (lone || code === 0xfffe || code === 0xffff) {
      out += `\\u${code.toString(16)}`;
    } else {
      out += character;
    }
  }
  return out;
}

/**
 * @param {SVGSVGElement} source
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @returns {SVGSVGElement}
 */
export function standaloneSvg(source, x, y, width, height) {
  const copy = /** @type {SVGSVGElement} */ (source.cloneNode(true));
  const sources = [source, ...Array.from(source.querySelectorAll("*"))];
  const copies = [copy, ...Array.from(copy.querySelectorAll("*"))];
  sources.forEach((element, i) => {
    const style = getComputedStyle(element);
    const twin = copies[i];
    if (i > 0 && (style.display === "none" || element.getAttribute("data-save") === "skip")) {
      twin.remove();
      return;
    }
    for (const {name} of Array.from(twin.attributes)) {
      if (name === "class" || name === "tabindex" || name === "role" || /^(aria|data)-/.test(name)) {
        twin.removeAttribute(name);
      }
    }
    if (style.opacity !== "1" && i > 0) {
      twin.setAttribute("opacity", style.opacity);
    }
    const text = element instanceof SVGTextElement;
    if (text || element instanceof SVGGeometryElement) {
      for (const name of text ? TEXT : SHAPE) {
        const value = style.getPropertyValue(name);
        if (value && value !== DEFAULTS[name]) {
          twin.setAttribute(name, value);
        }
      }
    }
    if (text) {
      twin.setAttribute("xml:space", "preserve");
      twin.textContent = xmlText(element.textContent ?? "");
    }
  });
  for (const [name, value] of Object.entries({x, y, width, height})) {
    copy.setAttribute(name, value.toFixed(2));
  }
  copy.setAttribute("overflow", "visible");
  return copy;
}
