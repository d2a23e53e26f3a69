/**
 * The bar of active changes: each can be removed, and what they do to the prediction stands beside them.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").EditSpec} EditSpec
 * @typedef {import("nextword/types.js").Frame} Frame
 */

import {byId, el, onceAFrame} from "nextword/dom.js";
import {withoutEdit} from "nextword/edits.js";
import {formatPercent} from "nextword/format.js";
import {floats, metadataOf} from "nextword/frames.js";
import {t} from "nextword/i18n.js";
import {softmax, topK} from "nextword/sampling.js";
import {labelOfId, showWhitespace} from "nextword/token_text.js";

const TOP = 5;

/** Where the whole bar would cover half of the page. */
const NARROW = matchMedia("(max-width: 700px)");

/** @param {Context} context */
export function addEditBar(context) {
  const {store, source} = context;
  const bar = byId("changes");
  let unfolded = false;
  const draw = () => {
    const {edits, look, plain} = store.get();
    const labels = look === null ? [] : metadataOf(look).edits;
    bar.hidden = edits.length === 0 && labels.length === 0;
    if (bar.hidden) {
      return;
    }
    const folded = NARROW.matches && !unfolded;
    bar.setAttribute("aria-label", t("changes.title"));
    bar.classList.toggle("folded", folded);
    // A file may hold no run without the changes.
    const effect = source.live || plain !== null ? effectOfEdits(look, plain, folded ? 1 : Infinity) : null;
    const title = NARROW.matches ? foldButton(edits.length || labels.length) : el("strong", {}, t("changes.title"));
    if (folded) {
      bar.replaceChildren(el("div", {class: "change-list"}, title, ...(effect === null ? [] : [effect])));
      return;
    }
    bar.replaceChildren(editList(context, labels, title));
    if (effect !== null) {
      bar.append(el("div", {class: "change-list"}, el("strong", {}, t("changes.effect")), effect));
    }
  };
  /** @param {number} count */
  const foldButton = (count) =>
    el(
      "button",
      {
        class: "quiet fold",
        type: "button",
        "aria-expanded": String(unfolded),
        onClick: () => {
          unfolded = !unfolded;
          draw();
          /** @type {HTMLElement | null} */ (bar.querySelector(".fold"))?.focus();
        },
      },
      t("changes.count", {count}),
    );
  NARROW.addEventListener("change", draw);
  store.subscribe(["lang", "edits", "look", "plain", "walking"], onceAFrame(draw));
  draw();
}

/**
 * @param {Context} context
 * @param {string[]} labels As Python: what a file's changes are called.
 * @param {HTMLElement} title
 * @returns {HTMLElement}
 */
function editList({store, source}, labels, title) {
  const {edits, walking} = store.get();
  const row = el("div", {class: "change-list"}, title);
  if (!source.live) {
    row.append(...labels.map((label) => el("code", {class: "chip"}, label)));
    return row;
  }
  for (const edit of edits) {
    const name = nameOf(edit, store.get().look);
    const remove = el(
      "button",
      {
        class: "chip",
        type: "button",
        disabled: walking,
        "aria-label": t("changes.remove", {change: name}),
        title: t("changes.remove", {change: name}),
        onClick: () => store.set({edits: withoutEdit(store.get().edits, edit)}),
      },
      name,
      el("span", {class: "number", "aria-hidden": true}, "×"),
    );
    row.append(remove);
  }
  const undo = el("button", {class: "quiet", type: "button", disabled: walking || !store.canUndo()}, t("changes.undo"));
  undo.addEventListener("click", () => store.undo());
  const clear = el("button", {class: "quiet", type: "button", disabled: walking}, t("changes.clear"));
  clear.addEventListener("click", () => store.set({edits: []}));
  row.append(undo, clear);
  return row;
}

/**
 * The most probable tokens of either prediction, and their probability in both.
 *
 * @param {Frame | null} look
 * @param {Frame | null} plain
 * @param {number} maxTokens How many of them at most.
 * @returns {HTMLElement}
 */
function effectOfEdits(look, plain, maxTokens) {
  if (look === null || plain === null) {
    return el("span", {}, t("busy.trace"));
  }
  const before = softmax(floats(plain, "logits"));
  const after = softmax(floats(look, "logits"));
  const larger = (/** @type {number} */ id) => Math.max(before[id], after[id]);
  const union = new Set([...topK(before, TOP), ...topK(after, TOP)]);
  const tokens = [...union].sort((one, other) => larger(other) - larger(one) || one - other);
  const items = tokens.slice(0, maxTokens).map((id) => {
    const token = metadataOf(look).texts[id] ? labelOfId(look, id) : labelOfId(plain, id);
    const values = {before: formatPercent(before[id]), after: formatPercent(after[id])};
    const arrow = after[id] > before[id] ? "up" : "down";
    return el(
      "li",
      {class: `chip ${arrow}`, "aria-label": t("changes.row", {token, ...values})},
      el("span", {}, token),
      el("span", {class: "number"}, `${values.before} → ${values.after}`),
    );
  });
  return el("ul", {class: "chips", role: "list"}, ...items);
}

/**
 * @param {EditSpec} edit
 * @param {Frame | null} look
 * @returns {string}
 */
function nameOf(edit, look) {
  switch (edit.kind) {
    case "head":
      return t(edit.factor === 0 ? "changes.head" : "changes.factor", {...edit});
    case "mlp":
      return t("changes.mlp", {layer: edit.layer});
    case "layer":
      return t("changes.layer", {layer: edit.layer});
    case "patch": {
      const row = edit.row === 0 ? t("lens.in") : edit.row - 1;
      return t("changes.patch", {row, position: edit.position, from: edit.from_position});
    }
    case "token": {
      const text = edit.text ?? (look === null ? undefined : metadataOf(look).texts[edit.id]);
      return t("changes.token", {position: edit.position, token: text ? showWhitespace(text) : `#${edit.id}`});
    }
  }
}
