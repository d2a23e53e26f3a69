/**
 * What the model is, and how exact its numbers are.
 *
 * @typedef {import("nextword/types.js").About} About
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Frame} Frame
 */

import {byId, el, onceAFrame} from "nextword/dom.js";
import {formatBytes, formatNumber} from "nextword/format.js";
import {metadataOf} from "nextword/frames.js";
import {formatInteger, language, t} from "nextword/i18n.js";

/** @param {Context} context */
export function addAbout({store}) {
  const footer = byId("about");
  const draw = () => {
    const {about, look} = store.get();
    const facts = [...(about === null ? [] : factsOf(about)), ...(look === null ? [] : lookFacts(look))];
    footer.setAttribute("aria-label", t("about.title"));
    footer.replaceChildren(
      el("dl", {}, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, `${name}: `), el("dd", {}, value)))),
    );
  };
  store.subscribe(["lang", "about", "look"], onceAFrame(draw));
  draw();
}

/**
 * @param {About} about
 * @returns {[string, string][]}
 */
function factsOf(about) {
  const {backend, reason, reference_error: error} = about;
  /** @type {[string, string][]} */
  const facts = [
    [t("about.model"), about.name],
    [t("about.file"), about.file],
    [t("about.dtype"), about.dtype],
    // The server gives its reason in English only.
    [t("about.backend"), reason === "" || language() !== "en" ? backend : t("about.reason", {backend, reason})],
    [t("about.parameters"), formatInteger(about.parameters)],
    [t("about.bytes"), formatBytes(about.bytes)],
    [
      t("about.error"),
      error === null
        ? t("about.unmeasured")
        : t("about.errorValue", {value: formatNumber(error.value), against: error.against}),
    ],
  ];
  if (about.memory > 0) {
    facts.push([t("about.memory"), formatBytes(about.memory)]);
  }
  return facts.filter(([, value]) => value !== "");
}

/**
 * @param {Frame} look
 * @returns {[string, string][]}
 */
function lookFacts(look) {
  const {model, tokens, seconds} = metadataOf(look);
  const shape = {
    layers: model.layers,
    width: formatInteger(model.d_model),
    heads: model.heads,
    vocabulary: formatInteger(model.vocab_size),
  };
  return [
    [t("about.shape"), t("about.shapeValue", shape)],
    [t("about.context"), t("about.tokens", {count: formatInteger(model.context_length)})],
    [t("tokens.title"), formatInteger(tokens.length)],
    [t("about.seconds"), t("about.secondsValue", {seconds: formatNumber(seconds)})],
  ];
}
