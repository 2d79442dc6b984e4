/** One message on the page. */

import { plainText } from "../state.js";
import { button, copyButton, h, put } from "./dom.js";
import { Editor } from "./editor.js";
import { createPart } from "./parts.js";
import { Versions } from "./versions.js";
import { WORDS } from "./words.js";

/** Ends of an answer, after which it can be written anew. */
const ENDED = new Set(["completed", "stopped", "failed", "interrupted"]);

/**
 * @typedef {object} Around what a message's look depends on beside itself
 * @property {any} generation the one that writes it
 * @property {boolean} isIdle whether nothing is at work in the conversation
 * @property {number} version its place among its versions, from 0 on @property {number} versions how many there are
 * @property {boolean} canWrite @property {boolean} canDecide
 * @property {string} me id of the reader @property {string} assistant what answers are signed with
 */

export class MessageView {
  #parts = [];
  #shown = [];

  /** @type {Editor | null} */
  #editor = null;

  /**
   * @param {object} handlers
   * @param {(generation: string) => void} handlers.onRetry
   * @param {(generation: string, call: string, decision: string) => void} handlers.onDecide
   * @param {(message: any, text: string) => Promise<boolean>} handlers.onEdit resolves to whether it was taken
   * @param {(message: any, step: 1 | -1) => void} handlers.onTurn
   */
  constructor({ onRetry, onDecide, onEdit, onTurn }) {
    this.onEdit = onEdit;
    this.onDecide = (call, decision) => onDecide(this.message.generation, call, decision);
    this.author = h("h2", { class: "llm-author", part: "author" });
    this.body = h("div", { class: "llm-body", part: "body" });
    this.state = h("span", { class: "llm-state", part: "state" });
    this.retry = button(WORDS.retry, { class: "llm-button llm-retry", part: "button retry" }, () =>
      onRetry(this.message.generation),
    );
    this.copy = copyButton(() => plainText(this.message));
    this.edit = button(WORDS.edit, { class: "llm-button llm-edit", part: "button edit" }, () => this.#beginEdit());
    this.versions = new Versions((step) => onTurn(this.message, step));
    this.leftOut = h("span", { class: "llm-aside", part: "left-out" });
    const { state, leftOut, versions, retry, copy, edit } = this;
    this.footer = h("footer", { class: "llm-footer", part: "footer" }, state, leftOut, versions.node, retry, edit, copy);
    this.node = h("article", { class: "llm-message" }, this.author, this.body, this.footer);
  }

  /** @param {any} message @param {Around} around */
  show(message, around) {
    const shown = [message, ...Object.values(around)];
    // States are never changed in place: what is the same object looks the same.
    if (shown.every((value, index) => value === this.#shown[index])) return;
    this.#shown = shown;
    this.message = message;
    const mine = message.role === "user" && (!message.author || message.author.id === around.me);
    const name = authorName(message, mine, around.assistant);
    const { node } = this;
    Object.assign(node.dataset, { role: message.role, id: message.id, status: message.status, mine });
    node.setAttribute("part", `message ${message.role}${mine ? " mine" : ""}`);
    node.setAttribute("aria-label", name);
    put(this.author, name);
    this.#showParts(message, around);
    put(this.state, stateText(message, around.generation));
    const text = plainText(message);
    node.toggleAttribute("data-blank", message.status === "running" && !message.parts.some(Boolean));
    const turns = around.generation?.left_out;
    put(this.leftOut, turns ? WORDS.leftOut(turns) : "");
    this.versions.show(around.version, around.versions);
    const mayChange = around.isIdle && around.canWrite && ENDED.has(message.status);
    put(this.retry, message.status === "completed" ? WORDS.regenerate : WORDS.retry);
    this.retry.hidden = !(mayChange && message.role === "assistant" && message.generation);
    this.edit.hidden = !(mayChange && mine);
    this.copy.hidden = !navigator.clipboard || message.role !== "assistant" || !text || message.status === "running";
  }

  #beginEdit() {
    const onSend = async (text) => {
      const taken = await this.onEdit(this.message, text);
      if (taken) this.#endEdit();
      return taken;
    };
    const onCancel = () => {
      this.#endEdit();
      this.edit.focus();
    };
    this.#editor = new Editor(plainText(this.message), { onSend, onCancel });
    this.body.hidden = this.footer.hidden = true;
    this.body.after(this.#editor.node);
    this.#editor.begin();
  }

  #endEdit() {
    this.#editor?.node.remove();
    this.#editor = null;
    this.body.hidden = this.footer.hidden = false;
  }

  #showParts(message, { canDecide }) {
    const parts = message.parts.filter(Boolean);
    parts.forEach((part, index) => {
      let view = this.#parts[index];
      if (view?.type !== part.type) {
        const fresh = createPart(part, message, this.onDecide);
        fresh.type = part.type;
        if (view) view.node.replaceWith(fresh.node);
        else this.body.append(fresh.node);
        this.#parts[index] = view = fresh;
      }
      view.show(part, message, canDecide);
    });
    for (const { node } of this.#parts.splice(parts.length)) node.remove();
  }
}

function authorName(message, mine, assistant) {
  if (message.role === "assistant") return assistant || WORDS.assistant;
  return mine ? WORDS.you : (message.author?.name ?? message.role);
}

function stateText({ status }, generation) {
  if (status === "sending") return WORDS.sending;
  if (status === "running") {
    if (generation?.status === "queued") return WORDS.queued;
    // While it waits for a decision, its last phase is past.
    return generation?.phase && generation.status !== "waiting" ? generation.phase.detail || generation.phase.name : "";
  }
  if (status === "completed") return generation?.finish_reason === "length" ? WORDS.cut : "";
  return generation?.error?.message || (WORDS.ended[status] ?? "");
}
