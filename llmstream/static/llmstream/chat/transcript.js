/** The messages on the page, kept in step with the state at most once a frame. */

import { EMPTY, active, branch, plainText, versions } from "../state.js";
import { h, hide } from "./dom.js";
import { MessageView } from "./message.js";
import { WORDS } from "./words.js";

/** Hidden pages get no frames, but their text should be there when they are shown. */
const HIDDEN_MS = 250;

export class Transcript {
  #views = new Map();
  #scheduled = false;
  #state = EMPTY;
  #pending = [];
  #known = new Set();
  /** @type {{id: string, step: 1 | -1} | null} */
  #turnedTo = null;
  #branching = null;
  #ratings = null;
  #older = h("p", { class: "llm-note", hidden: true }, WORDS.older);

  /**
   * @param {HTMLElement} log @param {any} handlers of the messages
   * @param {() => {me: string, assistant: string, canWrite: boolean, canDecide: boolean}} reader
   */
  constructor(log, handlers, reader) {
    Object.assign(this, { log, handlers, reader });
    log.append(this.#older);
  }

  /** Load what comes after the rest. Should it not come, messages can be read and sent all the same. */
  async complete(chat) {
    const rated = chat.getAttribute("feedback") !== "off";
    const parts = [import("./branching.js"), rated && import("./feedback.js")];
    const [branching, feedback] = (await Promise.allSettled(parts)).map(({ value }) => value || null);
    this.#branching = branching;
    this.#ratings ??= feedback && new feedback.Ratings(chat, this.handlers);
    this.show();
  }

  /** @param {import ("../state.js").State} [state] */
  show(state = this.#state) {
    this.#state = state;
    if (this.#scheduled) return;
    this.#scheduled = true;
    const run = () => {
      this.#scheduled = false;
      this.#render();
    };
    if (document.hidden) setTimeout(run, HIDDEN_MS);
    else requestAnimationFrame(run);
  }

  /** Show a prompt that the server has not confirmed yet; returns what takes it away. @param {string} text */
  addPending(text, files = []) {
    if (!this.#pending.length) this.#known = new Set(this.#state.messages.keys());
    const message = { id: `pending-${this.#pending.length}`, role: "user", status: "sending", author: null };
    const entry = { ...message, parts: [{ type: "text", text }, ...files.filter(({ id }) => id)], generation: null };
    this.#pending.push(entry);
    this.show();
    return () => {
      this.#pending = this.#pending.filter((other) => other !== entry);
      this.show();
    };
  }

  /**
   * Put the focus on the button that has been pressed, where the message with this id is when it is shown.
   * @param {string} id @param {1 | -1} step
   */
  turnTo(id, step) {
    this.#turnedTo = { id, step };
  }

  /** Whether there is nothing to show. */
  get isEmpty() {
    return !this.#state.messages.size && !this.#pending.length;
  }

  #render() {
    const { generations, truncated } = this.#state;
    const messages = branch(this.#state);
    const isIdle = !active(this.#state).length;
    const known = versions(this.#state);
    messages.push(...this.#unconfirmed());
    const wanted = new Set(messages.map(({ id }) => id));
    const held = /** @type {ShadowRoot} */ (this.log.getRootNode()).activeElement;
    for (const [id, { node }] of this.#views) {
      if (wanted.has(id)) continue;
      node.remove();
      this.#views.delete(id);
    }
    hide(this.#older, !truncated);
    if (this.log.ariaBusy !== String(!isIdle)) this.log.ariaBusy = String(!isIdle);
    const reader = this.reader();
    messages.forEach((message, index) => {
      const view = this.#view(message.id);
      const after = this.log.children[index + 1];
      if (after !== view.node) this.log.insertBefore(view.node, after ?? null);
      const same = known.get(message.parent) ?? [];
      const place = { version: same.indexOf(message.id), versions: same.length, branching: this.#branching, ratings: this.#ratings };
      view.show(message, { generation: generations.get(message.generation), isIdle, ...place, ...reader });
    });
    this.#keepFocus(held);
    this.handlers.onRender();
  }

  /** What has had the focus may have gone; the focus must not fall out of the chat with it. */
  #keepFocus(held) {
    if (held && (!held.isConnected || (this.log.contains(held) && held.closest("[hidden]")))) {
      this.log.parentElement.focus({ preventScroll: true });
    }
    const { id, step } = this.#turnedTo ?? {};
    if (!this.#views.has(id)) return;
    this.#turnedTo = null;
    const { previous, next } = this.#views.get(id).versions;
    (step > 0 ? next : previous).focus();
  }

  #view(id) {
    if (!this.#views.has(id)) this.#views.set(id, new MessageView(this.handlers));
    return this.#views.get(id);
  }

  /** A prompt's event may come before the answer to its command. */
  #unconfirmed() {
    const { me } = this.reader();
    const isNew = ({ id, role, author }) => {
      return role === "user" && (!author || !me || author.id === me) && !this.#known.has(id);
    };
    const arrived = [...this.#state.messages.values()].filter(isNew).map(plainText);
    return this.#pending.filter((message) => {
      const index = arrived.indexOf(plainText(message));
      if (index >= 0) arrived.splice(index, 1);
      return index < 0;
    });
  }
}
