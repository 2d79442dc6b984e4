/** One message on the page. */

import { plainText } from "../state.js";
import { button, copyButton, h, put } from "./dom.js";
import { createPart } from "./parts.js";
import { WORDS, _ } from "./words.js";

/** Ends of an answer, after which it can be written anew. */
const ENDED = new Set(["completed", "stopped", "failed", "interrupted"]);

/**
 * @typedef {object} Around what a message's look depends on beside itself
 * @property {any} generation the one that writes it
 * @property {boolean} isIdle whether nothing is at work in the conversation
 * @property {typeof import ("./branching.js") | null} branching
 * @property {import ("./feedback.js").Ratings | null} ratings
 * @property {number} version its place among its versions, from 0 on @property {number} versions how many there are
 * @property {boolean} canWrite @property {boolean} canDecide
 * @property {string} me id of the reader @property {string} assistant what answers are signed with
 */

export class MessageView {
  #parts = [];
  #shown = [];
  #rest = [];

  /** @param {Record<string, Function>} handlers `onEdit` resolves to whether the text was taken */
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
    this.onTurn = (step) => onTurn(this.message, step);
    this.edit = button(WORDS.edit, { class: "llm-button llm-edit", part: "button edit" }, () =>
      this.branching.beginEdit(this),
    );
    this.history = h("span", { class: "llm-aside", part: "history" });
    const shown = [this.state, this.history, this.retry, this.edit, this.copy];
    this.footer = h("footer", { class: "llm-footer", part: "footer" }, ...shown);
    this.node = h("article", { class: "llm-message" }, this.author, this.body, this.footer);
  }

  /** @param {any} message @param {Around} around */
  show(message, around) {
    const shown = [message, ...Object.values(around)];
    // States are never changed in place: what is the same object looks the same.
    if (isEqual(shown, this.#shown)) return;
    this.#shown = shown;
    this.message = message;
    this.branching = around.branching;
    this.#showParts(message, around);
    // While an answer grows, nothing but its parts changes.
    const { parts, ...others } = message;
    const rest = [parts.some(Boolean), ...Object.values(others), ...Object.values(around)];
    if (isEqual(rest, this.#rest)) return;
    this.#rest = rest;
    this.#showRest(message, around);
  }

  #showRest(message, around) {
    const mine = message.role === "user" && (!message.author || message.author.id === around.me);
    const name = authorName(message, mine, around.assistant);
    const { node } = this;
    Object.assign(node.dataset, { role: message.role, id: message.id, status: message.status, mine });
    node.setAttribute("part", `message ${message.role}${mine ? " mine" : ""}`);
    node.setAttribute("aria-label", name);
    put(this.author, name);
    put(this.state, stateText(message, around.generation));
    node.toggleAttribute("data-blank", message.status === "running" && !message.parts.some(Boolean));
    const leftOut = around.generation?.left_out;
    put(this.history, leftOut ? WORDS.leftOut(leftOut) : "");
    this.#showVersions(around);
    const mayChange = around.isIdle && around.canWrite && ENDED.has(message.status);
    put(this.retry, message.status === "completed" ? WORDS.regenerate : WORDS.retry);
    this.retry.hidden = !(mayChange && message.role === "assistant" && message.generation);
    this.edit.hidden = !(mayChange && mine && around.branching);
    around.ratings?.show(this);
    const isCopied = message.role === "assistant" && message.status !== "running" && plainText(message);
    this.copy.hidden = !navigator.clipboard || !isCopied;
  }

  #showVersions({ branching, version, versions }) {
    if (!this.versions && branching && versions > 1) {
      this.versions = new branching.Versions(this.onTurn);
      this.versions.follow(this.history);
    }
    this.versions?.show(version, versions);
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

function isEqual(values, others) {
  return values.length === others.length && values.every((value, index) => value === others[index]);
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
  return _(generation?.error?.message ?? "") || (WORDS.ended[status] ?? "");
}
