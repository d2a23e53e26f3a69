/**
 * The text as tokens; a click on one has the model read another in its place.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/types.js").Token} Token
 */

import {field} from "nextword/controls.js";
import {byId, clear, el} from "nextword/dom.js";
import {withEdit} from "nextword/edits.js";
import {metadataOf} from "nextword/frames.js";
import {formatInteger, t} from "nextword/i18n.js";
import {traceCode} from "nextword/python.js";
import {errorMessage} from "nextword/source_error.js";
import {addStation} from "nextword/station.js";
import {showWhitespace, tokenLabel} from "nextword/token_text.js";

const HUES = 6;

/** @param {Context} context */
export function addTokens(context) {
  const {store, source} = context;
  /** @type {HTMLElement} */
  let list;
  /** @type {HTMLElement} */
  let facts;
  const words = byId("words");
  const swap = new TokenSwap(context);

  const highlight = () => {
    const {hover} = store.get();
    for (const place of [list, words]) {
      for (const chip of place.querySelectorAll(".chip")) {
        chip.classList.toggle("lit", chip.getAttribute("data-position") === String(hover));
      }
    }
  };

  addStation(context, {
    name: "tokens",
    title: () => "tokens.title",
    what: () => "tokens.what",
    keys: ["quick", "edits", "walk", "text"],
    needsTrace: false,
    python: (state) => traceCode(state, ".tokens"),
    build: ({body}) => {
      list = el("div");
      facts = el("p", {class: "note"});
      body.append(list, swap.build(), facts);
    },
    draw: (state) => {
      const tokens = tokensOf(state);
      drawChips(context, list, tokens, source.live ? (position) => swap.open(position, tokens[position]) : null);
      drawChips(context, words, tokens, null);
      words.scrollLeft = words.scrollWidth;
      facts.textContent = factsOf(state, tokens);
      highlight();
    },
  });
  store.subscribe(["hover"], highlight);
}

/**
 * @param {Readonly<State>} state
 * @returns {Token[]}
 */
function tokensOf({quick, look}) {
  return quick?.tokens ?? (look === null ? [] : metadataOf(look).tokens);
}

/**
 * @param {Readonly<State>} state
 * @param {Token[]} tokens
 * @returns {string}
 */
function factsOf({quick, look}, tokens) {
  if (tokens.length === 0) {
    return t("waiting.text");
  }
  const count = tokens.length === 1 ? t("tokens.one") : t("tokens.count", {count: formatInteger(tokens.length)});
  const dropped = quick?.dropped ?? (look === null ? 0 : metadataOf(look).dropped);
  if (dropped === 0) {
    return count;
  }
  return `${count}. ${t("tokens.dropped", {count: formatInteger(dropped), context: formatInteger(tokens.length)})}`;
}

/**
 * @param {Context} context
 * @param {HTMLElement} place
 * @param {Token[]} tokens
 * @param {((position: number) => void) | null} onPick With it the chips are buttons that show their numbers.
 */
function drawChips({store}, place, tokens, onPick) {
  const {walk, edits} = store.get();
  const firstGenerated = tokens.length - (walk?.shownCount ?? 0);
  /** @type {Map<number, string>} */
  const swapped = new Map();
  for (const edit of edits) {
    if (edit.kind === "token") {
      swapped.set(edit.position, showWhitespace(edit.text ?? `#${edit.id}`));
    }
  }
  const list = el("ul", {class: "chips", role: "list", "aria-label": t("tokens.list")});
  /** @type {HTMLElement} */
  let parent = list;
  tokens.forEach((token, position) => {
    const text = swapped.has(position) ? `${tokenLabel(token)} → ${swapped.get(position)}` : tokenLabel(token);
    const fragment = {text: showWhitespace(token.text), part: token.part, parts: token.parts};
    // What is to be seen comes first: by that a chip is called by who speaks to the page.
    const visible = `${text} ${token.id}`;
    const notes = [
      t("tokens.chip", {position}),
      token.parts > 1 && t("tokens.fragment", fragment),
      position >= firstGenerated && t("tokens.written"),
      swapped.has(position) && t("tokens.swapped"),
    ].filter(Boolean);
    const chip = el(
      onPick === null ? "span" : "button",
      {
        class: `chip${position >= firstGenerated ? " written" : ""}${swapped.has(position) ? " swapped" : ""}`,
        type: onPick === null ? null : "button",
        "data-hue": position % HUES,
        "data-position": position,
        "aria-label": onPick === null ? null : `${visible}: ${notes.join(", ")}`,
        title: [visible, ...notes].join("\n"),
        onPointerEnter: () => store.set({hover: position}),
        onPointerLeave: () => store.set({hover: null}),
        onFocus: () => store.set({hover: position}),
        onBlur: () => store.set({hover: null}),
      },
      text,
      onPick !== null && " ",
      onPick !== null && el("span", {class: "number"}, token.id),
    );
    if (onPick !== null) {
      chip.addEventListener("click", () => onPick(position));
    }
    // Fragments of one character stand together.
    if (token.parts > 1 && token.part === 1) {
      list.append(el("li", {}, (parent = el("span", {class: "tied"}))));
    }
    if (token.parts > 1) {
      parent.append(chip);
    } else {
      list.append(el("li", {}, chip));
    }
  });
  place.replaceChildren(...(tokens.length === 0 ? [] : [list]));
}

/** The form in which another token is chosen for a position. */
class TokenSwap {
  /** @param {Context} context */
  constructor({store, source}) {
    this._store = store;
    this._source = source;
    this._position = 0;
    this._root = el("form", {class: "controls", hidden: true});
    this._root.addEventListener("submit", (event) => {
      event.preventDefault();
      void this._apply();
    });
    this._root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this._close();
      }
    });
    this._input = el("input", {type: "text", spellcheck: "false", autocomplete: "off"});
    this._note = el("p", {class: "note", role: "status"});
  }

  /** @returns {HTMLElement} */
  build() {
    const close = el("button", {class: "quiet", type: "button", onClick: () => this._close()}, t("tokens.swapClose"));
    const use = el("button", {class: "primary", type: "submit"}, t("tokens.swapUse"));
    clear(this._root).append(field(t("tokens.swapLabel"), this._input), use, close, this._note);
    return this._root;
  }

  /**
   * @param {number} position
   * @param {Token} token
   */
  open(position, token) {
    this._position = position;
    this._root.hidden = false;
    this._root.setAttribute("aria-label", t("tokens.swap", {text: tokenLabel(token)}));
    this._note.textContent = `${t("tokens.swap", {text: tokenLabel(token)})}. ${t("tokens.swapHint")}`;
    this._input.value = token.parts === 1 ? token.text : "";
    this._input.focus();
    this._input.select();
  }

  _close() {
    this._root.hidden = true;
  }

  async _apply() {
    const text = this._input.value;
    try {
      const ids = await this._source.tokenize(text, this._store.get().model);
      if (ids.length === 1) {
        const {edits} = this._store.get();
        this._store.set({edits: withEdit(edits, {kind: "token", position: this._position, id: ids[0], text})});
        this._close();
      } else {
        this._note.textContent = t("tokens.swapMany", {text: showWhitespace(text), count: ids.length});
      }
    } catch (error) {
      this._note.textContent = errorMessage(error);
    }
  }
}
