/**
 * Starts the page: the source of its numbers, the store, the stations, and what stands above them.
 *
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {import("nextword/types.js").Source} Source
 */

import {el} from "nextword/dom.js";
import {embeddedFrames, FileSource} from "nextword/file_source.js";
import {metadataOf} from "nextword/frames.js";
import {Generator} from "nextword/generator.js";
import {addHeader} from "nextword/header.js";
import {initialLanguage, setLanguage, t} from "nextword/i18n.js";
import {ServerSource} from "nextword/server_source.js";
import {Store} from "nextword/state.js";
import {addAbout} from "nextword/stations/about.js";
import {addBlocks} from "nextword/stations/blocks.js";
import {addChat} from "nextword/stations/chat.js";
import {addEditBar} from "nextword/stations/edit_bar.js";
import {addEmbedding} from "nextword/stations/embedding.js";
import {addGeneration} from "nextword/stations/generation.js";
import {addLens} from "nextword/stations/lens.js";
import {addProbabilities} from "nextword/stations/probabilities.js";
import {addResidual} from "nextword/stations/residual.js";
import {addSecondPrompt} from "nextword/stations/second_prompt.js";
import {addTokens} from "nextword/stations/tokens.js";
import {addTraining} from "nextword/stations/training.js";
import {TraceLoader} from "nextword/trace_loader.js";

const STATIONS = [
  addTokens,
  addEmbedding,
  addBlocks,
  addResidual,
  addLens,
  addProbabilities,
  addEditBar,
  addGeneration,
  addSecondPrompt,
  addChat,
  addTraining,
  addAbout,
];

/**
 * Asks for the server's key.
 *
 * @returns {Promise<string | null>}
 */
function askKey() {
  const input = el("input", {type: "password", autocomplete: "off", required: true});
  const dialog = el(
    "dialog",
    {"aria-label": t("key.title")},
    el(
      "form",
      {method: "dialog", class: "stack"},
      el("p", {}, t("key.title")),
      el("label", {class: "field"}, el("span", {}, t("key.label")), input),
      el(
        "div",
        {class: "controls"},
        el("button", {class: "primary", value: "use"}, t("key.use")),
        el("button", {class: "quiet", value: "", formnovalidate: true}, t("key.cancel")),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "use" ? input.value : null);
    });
  });
}

/** The first layer to open: one in the middle, when the first trace is there. */
function openMiddleLayer(/** @type {Store} */ store) {
  let opened = false;
  store.subscribe(["look"], () => {
    const {look, layer} = store.get();
    if (opened || look === null) {
      return;
    }
    opened = true;
    if (layer === null) {
      store.set({layer: Math.floor(metadataOf(look).model.layers / 2), head: 0});
    }
  });
}

async function start() {
  const file = embeddedFrames();
  const hash = new URLSearchParams(location.hash.slice(1));
  const lang = initialLanguage(hash.get("lang") ?? file?.lang);
  setLanguage(lang);
  const source = file === null ? new ServerSource(askKey) : new FileSource(file.frames);
  const store = new Store({lang, model: hash.get("model"), text: hash.get("text") ?? t("page.example")});
  const traceLoader = new TraceLoader(store, source);
  const generator = new Generator(store, source, traceLoader);
  const context = {store, source, traceLoader, generator};
  if (source instanceof ServerSource) {
    traceLoader.start(); // the answer is under way while the page is built
  }
  openMiddleLayer(store);
  addHeader(context);
  for (const addStation of STATIONS) {
    addStation(context);
  }
  if (source instanceof FileSource) {
    const [look, plain] = [await source.look(), await source.plain()];
    store.set({look, plain, text: metadataOf(look).text});
  }
}

void start();
