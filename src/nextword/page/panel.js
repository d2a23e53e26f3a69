// The frame of a station: heading, "what am I looking at?", the picture, the Python line that makes it, saving.

import {savePng, saveSvg} from "nextword/charts/save.js";
import {announce} from "nextword/charts/tooltip.js";
import {el} from "nextword/dom.js";

/**
 * @typedef {object} PanelTexts
 * @property {string} title
 * @property {string} question "What am I looking at?"
 * @property {string} answer two sentences
 * @property {string} code the Python line that makes the picture; "" where there is none
 * @property {string} copy
 * @property {string} copied read out, and shown on the button for a moment
 * @property {string} saveSvg
 * @property {string} savePng
 * @property {string} name of saved files, without ending
 */

/**
 * @typedef {object} Panel
 * @property {HTMLElement} body for the pictures; what is in it is what is saved
 * @property {HTMLElement} controls above the body, for what sets the picture
 * @property {(texts: Partial<PanelTexts>) => void} update
 */

/**
 * @param {string} text
 * @param {HTMLElement} shown the element that shows it
 */
async function copyText(text, shown) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without a secure connection browsers have no clipboard to write to; the old way works.
  const selection = getSelection();
  selection?.selectAllChildren(shown);
  document.execCommand("copy");
  selection?.removeAllRanges();
}

/**
 * Fill a section with the frame of a station.
 * @param {HTMLElement} section
 * @param {PanelTexts} texts
 * @returns {Panel}
 */
export function makePanel(section, texts) {
  let now = {...texts};
  const heading = el("h2", {class: "station-title", id: `${section.id || now.name}-title`});
  const summary = el("summary", {});
  const answer = el("p", {});
  const controls = el("div", {class: "controls station-controls"});
  const body = el("div", {class: "station-body"});
  const code = el("code", {tabindex: 0});
  const copy = el("button", {class: "quiet", type: "button"});
  const line = el("div", {class: "code"}, code, copy);
  const asSvg = el("button", {class: "quiet", type: "button"});
  const asPng = el("button", {class: "quiet", type: "button"});

  copy.addEventListener("click", async () => {
    await copyText(now.code, code);
    copy.textContent = now.copied;
    announce(now.copied);
    setTimeout(() => (copy.textContent = now.copy), 1600);
  });
  asSvg.addEventListener("click", () => saveSvg(body, now.name, now.title));
  asPng.addEventListener("click", () => savePng(body, now.name, now.title));

  /** @param {Partial<PanelTexts>} changed */
  const update = (changed) => {
    now = {...now, ...changed};
    heading.textContent = now.title;
    summary.textContent = now.question;
    answer.textContent = now.answer;
    code.textContent = now.code;
    line.hidden = now.code === "";
    copy.textContent = now.copy;
    asSvg.textContent = now.saveSvg;
    asPng.textContent = now.savePng;
  };
  update(now);

  section.classList.add("station");
  section.setAttribute("aria-labelledby", heading.id);
  section.replaceChildren(
    el("div", {class: "station-head"}, heading, el("details", {class: "what"}, summary, answer)),
    controls,
    body,
    el("div", {class: "station-foot"}, line, el("div", {class: "saves"}, asSvg, asPng)),
  );
  return {body, controls, update};
}
