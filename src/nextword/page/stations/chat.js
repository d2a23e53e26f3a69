/**
 * Talking with a model, or having it write on where it has not learned to answer.
 *
 * @typedef {import("nextword/types.js").About} About
 * @typedef {import("nextword/types.js").Context} Context
 * @typedef {{role: "user" | "assistant", content: string}} Message
 */

import {field} from "nextword/controls.js";
import {byId, el} from "nextword/dom.js";
import {t} from "nextword/i18n.js";
import {loadCode, pythonString} from "nextword/python.js";
import {errorMessage} from "nextword/source_error.js";
import {addStation} from "nextword/station.js";

const MAX_TOKENS = 200;

/** @param {Context} context */
export function addChat(context) {
  const {store, source} = context;
  const conversation = new Conversation(context);
  let chats = false;

  addStation(context, {
    name: "chat",
    title: () => (chats || !source.live ? "chat.title" : "chat.completion"),
    what: () => (chats || !source.live ? "chat.what" : "chat.whatCompletion"),
    keys: ["about"],
    needsTrace: false,
    python: ({about}) => {
      if (about === null || !source.live) {
        return "";
      }
      const load = loadCode(about.file);
      const prompt = pythonString(conversation.lastPrompt);
      return chats ? `${load}.chat([{"role": "user", "content": ${prompt}}])` : `${load}.generate(${prompt})`;
    },
    build: ({body}) => body.append(conversation.build(chats)),
    draw: () => {},
  });
  const loadAbout = async () => {
    const {model} = store.get();
    try {
      const about = await source.about(model);
      if (store.get().model !== model) {
        return;
      }
      chats = about.chat;
      conversation.restart(chats);
      byId("chat").hidden = false;
      store.set({about});
    } catch (error) {
      store.set({error: errorMessage(error)});
    }
  };
  if (!source.live) {
    byId("chat").hidden = false;
  }
  store.subscribe(["model"], loadAbout);
  void loadAbout();
}

class Conversation {
  /** @param {Context} context */
  constructor({store, source}) {
    this._store = store;
    this._source = source;
    this._chats = false;
    /** @type {Message[]} */
    this._messages = [];
    /** @type {AbortController | null} */
    this._controller = null;
    this.lastPrompt = "";
    this._log = el("div", {class: "chat-log", role: "log"});
    this._input = el("textarea", {rows: 2});
    this._maxTokens = el("input", {type: "number", min: 1, max: 4096, step: 1, value: MAX_TOKENS});
    this._note = el("p", {class: "warn", role: "alert", hidden: true});
    this._send = el("button", {class: "primary", type: "submit"});
    this._stop = el("button", {class: "quiet", type: "button", hidden: true});
    this._clearButton = el("button", {class: "quiet", type: "button"});
    this._root = el("form", {class: "stack"});
    this._stop.addEventListener("click", () => this._controller?.abort());
    this._clearButton.addEventListener("click", () => this._clear());
    this._root.addEventListener("submit", (event) => {
      event.preventDefault();
      void this._submit();
    });
    this._input.addEventListener("keydown", (event) => {
      // While Hangul is being composed, Enter ends the syllable and not the message.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) {
        return;
      }
      event.preventDefault();
      void this._submit();
    });
  }

  /**
   * @param {boolean} chats
   * @returns {HTMLElement}
   */
  build(chats) {
    this._chats = chats;
    if (!this._source.live) {
      return el("div", {}, el("p", {class: "note"}, t("file.chat")), el("p", {class: "note"}, t("file.training")));
    }
    this._log.setAttribute("aria-label", t("chat.log"));
    this._send.textContent = t("chat.send");
    this._stop.textContent = t("chat.stop");
    this._clearButton.textContent = t("chat.clear");
    const name = chats ? t("chat.message") : t("chat.prompt");
    const maxTokens = field(t("chat.tokens"), this._maxTokens);
    this._root.replaceChildren(
      this._log,
      this._note,
      el("label", {class: "prompt"}, el("span", {}, name), this._input),
      el("div", {class: "controls"}, this._send, this._stop, this._clearButton, maxTokens),
    );
    this._draw();
    return this._root;
  }

  /**
   * Another model: what was said with the last one is over.
   *
   * @param {boolean} chats
   */
  restart(chats) {
    this._clear();
    this.build(chats);
  }

  _clear() {
    this._controller?.abort();
    this._messages = [];
    this._note.hidden = true;
    this._draw();
  }

  async _submit() {
    const prompt = this._input.value;
    if (prompt === "" || this._controller !== null) {
      return;
    }
    this.lastPrompt = prompt;
    const answer = /** @type {Message} */ ({role: "assistant", content: ""});
    this._messages = this._chats
      ? [...this._messages, {role: "user", content: prompt}, answer]
      : [{role: "user", content: prompt}, answer];
    if (this._chats) {
      this._input.value = "";
    }
    const controller = (this._controller = new AbortController());
    this._note.hidden = true;
    this._draw();
    try {
      const path = this._chats ? "/v1/chat/completions" : "/v1/completions";
      await this._source.stream(path, this._body(prompt), (data) => this._addChunk(data, answer), controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) {
        this._showNote(errorMessage(error));
      }
    } finally {
      if (this._controller === controller) {
        this._controller = null;
      }
      this._draw();
    }
  }

  /**
   * @param {string} prompt
   * @returns {object}
   */
  _body(prompt) {
    const {model, sampling} = this._store.get();
    const {temperature, top_k, top_p, min_p, seed} = sampling;
    const maxTokens = Math.max(1, Math.round(this._maxTokens.valueAsNumber) || MAX_TOKENS);
    const withoutTopK = {model, stream: true, max_tokens: maxTokens, temperature, top_p, min_p, seed};
    const settings = top_k === null ? withoutTopK : {...withoutTopK, top_k};
    return this._chats ? {...settings, messages: this._messages.slice(0, -1)} : {...settings, prompt};
  }

  /**
   * @param {any} data
   * @param {Message} answer
   */
  _addChunk(data, answer) {
    if (data.error) {
      this._showNote(data.error.message);
      return;
    }
    const [choice] = data.choices;
    answer.content += choice?.delta?.content ?? choice?.text ?? "";
    if (choice?.finish_reason === "length") {
      this._showNote(t("chat.cut"));
    }
    this._draw();
  }

  /** @param {string} text */
  _showNote(text) {
    this._note.hidden = false;
    this._note.textContent = text;
  }

  _draw() {
    const busy = this._controller !== null;
    this._send.disabled = busy;
    this._stop.hidden = !busy;
    this._clearButton.hidden = this._messages.length === 0;
    this._log.hidden = this._messages.length === 0;
    this._log.setAttribute("aria-busy", String(busy));
    if (this._chats) {
      this._log.replaceChildren(
        ...this._messages.map(({role, content}) =>
          el(
            "p",
            {class: `said ${role}`},
            el("strong", {}, role === "user" ? t("chat.you") : t("chat.model")),
            content,
          ),
        ),
      );
    } else {
      const [prompt, answer] = this._messages;
      this._log.replaceChildren(el("p", {class: "written-text"}, prompt?.content, el("mark", {}, answer?.content)));
    }
    this._log.scrollTop = this._log.scrollHeight;
  }
}
