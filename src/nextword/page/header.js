/**
 * What stands above the stations: the text box, model, language, colours, what is going on; and the address, which
 * holds them.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Language} Language
 * @typedef {import("nextword/types.js").State} State
 * @typedef {import("nextword/i18n.js").TextKey} TextKey
 */

import {byId, el} from "nextword/dom.js";
import {formatPercent} from "nextword/format.js";
import {floats, metadataOf} from "nextword/frames.js";
import {setLanguage, t} from "nextword/i18n.js";
import {argmax, softmax} from "nextword/sampling.js";
import {STEP_PREFIX} from "nextword/server_source.js";
import {addTheme} from "nextword/theme.js";
import {joinTokens, labelOfId} from "nextword/token_text.js";

const HASH_MS = 300;

/** @param {Context} context */
export function addHeader(context) {
  const {store} = context;
  const writeTexts = staticTexts();
  writeTexts();
  addTextBox(context);
  addLanguage(context);
  addTheme();
  void addModels(context);
  addStatus(context);
  if (context.source.live) {
    addAddress(context);
  }
  store.subscribe(["lang"], writeTexts);
}

/**
 * The texts that index.html names. They are looked for once: what is added later writes its own.
 *
 * @returns {() => void} Writes them, in the page's language.
 */
function staticTexts() {
  /** @type {[string, (node: Element, text: string) => void][]} */
  const kinds = [
    ["data-text", (node, text) => (node.textContent = text)],
    ["data-label", (node, text) => node.setAttribute("aria-label", text)],
    ["data-placeholder", (node, text) => node.setAttribute("placeholder", text)],
  ];
  const all = kinds.flatMap(([name, write]) =>
    Array.from(document.querySelectorAll(`[${name}]`), (node) => {
      const key = /** @type {TextKey} */ (node.getAttribute(name));
      return () => write(node, t(key));
    }),
  );
  return () => {
    document.title = t("page.title");
    for (const write of all) {
      write();
    }
  };
}

/** @param {Context} context */
function addTextBox({store, source}) {
  const box = /** @type {HTMLTextAreaElement} */ (byId("text"));
  const hint = el("p", {class: "note"});
  box.closest("label")?.after(hint);
  box.disabled = !source.live;
  const write = () => {
    const {walking} = store.get();
    box.readOnly = walking;
    const text = fullText(store.get());
    if (box.value !== text) {
      box.value = text;
    }
    hint.textContent = source.live ? t("input.hint") : t("file.text");
  };
  box.addEventListener("input", () => store.set({text: box.value, walk: null}));
  // While the trace of a step is under way, the box keeps what it had.
  store.subscribe(["text", "walk", "look", "walking", "lang"], write);
  write();
}

/**
 * What was typed, and what was written behind it.
 *
 * @param {Readonly<State>} state
 * @returns {string}
 */
function fullText({text, walk, look}) {
  if (walk === null || walk.shownCount === 0 || look === null) {
    return text;
  }
  const {tokens} = metadataOf(look);
  const written = joinTokens(tokens.slice(Math.max(tokens.length - walk.shownCount, 0)));
  return text + written.replace(/⟨[0-9A-F·]+⟩$/, ""); // the beginning of a character that is not whole yet
}

/** @param {Context} context */
function addLanguage({store, source}) {
  const choice = /** @type {HTMLSelectElement} */ (byId("language"));
  const show = () => {
    choice.value = store.get().lang;
    document.documentElement.lang = store.get().lang;
  };
  choice.addEventListener("change", () => {
    const lang = /** @type {Language} */ (choice.value);
    const {text, walk} = store.get();
    const untouched = text === t("page.example") && walk === null;
    setLanguage(lang);
    store.set({lang});
    if (untouched && source.live) {
      store.set({text: t("page.example")});
    }
  });
  store.subscribe(["lang"], show);
  show();
}

/** @param {Context} context */
async function addModels({store, source, traceLoader}) {
  const choice = /** @type {HTMLSelectElement} */ (byId("model"));
  /** @type {string[]} Without the steps of a run, which have a slider. */
  let names = [];
  /** @type {string | null | undefined} What the run that is served came to. */
  let finished;
  const show = () => {
    const {model, look} = store.get();
    const current = model ?? (look === null ? null : metadataOf(look).model.name) ?? names[0] ?? "";
    const all = names.includes(current) ? names : [...names, current];
    choice.replaceChildren(...all.filter(Boolean).map((name) => el("option", {value: name}, name)));
    choice.value = current;
    choice.disabled = !source.live || all.length < 2;
    choice.closest("label")?.toggleAttribute("hidden", current === "");
  };
  choice.addEventListener("change", () => traceLoader.selectModel(choice.value));
  store.subscribe(["model", "look"], show);
  const loadNames = async () => {
    try {
      names = (await source.models()).filter((name) => !name.startsWith(STEP_PREFIX));
      show();
    } catch {
      // The trace says what is wrong.
    }
  };
  store.subscribe(["run"], () => {
    const now = store.get().run?.model;
    if (now !== finished) {
      finished = now;
      void loadNames();
    }
  });
  show();
  await loadNames();
}

/** @param {Context} context */
function addStatus({store}) {
  const status = byId("status");
  const show = () => {
    const {error, busy, notice, look} = store.get();
    status.classList.toggle("warn", error !== null);
    status.textContent = error ?? busy ?? notice ?? (look === null ? "" : readyText(store.get()));
  };
  store.subscribe(["error", "busy", "notice", "look", "lang"], show);
  show();
}

/**
 * @param {Readonly<State>} state
 * @returns {string}
 */
function readyText({look}) {
  if (look === null) {
    return "";
  }
  const logits = floats(look, "logits");
  const id = argmax(logits);
  return t("status.ready", {text: labelOfId(look, id), probability: formatPercent(softmax(logits)[id])});
}

/**
 * The address holds text, language and model: a link to the page shows the same.
 *
 * @param {Context} context
 */
function addAddress({store, traceLoader}) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const write = () => {
    const {text, lang, model} = store.get();
    const hash = new URLSearchParams({text, lang, ...(model === null ? {} : {model})});
    history.replaceState(null, "", `#${hash}`);
  };
  store.subscribe(["text", "lang", "model"], () => {
    clearTimeout(timer);
    timer = setTimeout(write, HASH_MS);
  });
  addEventListener("hashchange", () => {
    const hash = new URLSearchParams(location.hash.slice(1));
    const [text, lang, model] = [hash.get("text"), hash.get("lang"), hash.get("model")];
    if (lang === "en" || lang === "ko") {
      setLanguage(lang);
      store.set({lang});
    }
    if (model !== null && model !== store.get().model) {
      traceLoader.selectModel(model);
    }
    if (text !== null && text !== store.get().text) {
      store.set({text, walk: null});
    }
  });
}
