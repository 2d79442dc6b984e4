/** The messages on the page, kept in step with the store at most once a frame. */

import { Editor, Versions } from "../llmstream/chat/branching.js";
import { plainText } from "./store.js";
import { showText } from "./text.js";
import { buildOther, showOther } from "./tools.js";

const ENDED = new Set(["completed", "stopped", "failed", "interrupted"]);
const OTHERS = new Set(["tool", "data", "steer"]);
const ENDINGS = {
  stopped: "Stopped.",
  failed: "The answer failed.",
  interrupted: "The answer was interrupted.",
};

export class Transcript {
  #articles = new Map();
  #versions = new Map();
  #scheduled = false;
  #pending = [];
  #known = new Set();

  /**
   * `me` is the reader's user id; `modelLabel(key)` names a model; `onRetry(generation)` is called with its id,
   * `onDecide(generation, call, decision)` when somebody approves or denies a tool call, `onEdit(message, text)`, which
   * resolves to whether the text was taken, and `onTurn(message)` when another version is to be shown.
   */
  constructor(container, template, store, handlers) {
    Object.assign(this, { container, template, store, ...handlers });
    store.addEventListener("change", () => this.#schedule());
  }

  /** Show prompts that the server has not confirmed yet, or none. */
  showPending(...texts) {
    if (!this.#pending.length) this.#known = new Set(this.store.messages.keys());
    this.#pending = texts.map((text, index) => {
      return { id: `pending-${index}`, role: "user", parts: [{ type: "text", text }], status: "sending" };
    });
    this.#schedule();
  }

  /** Hidden pages get no frames, but their text should be there when they are shown. */
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const run = () => {
      this.#scheduled = false;
      this.#render();
    };
    if (document.hidden) setTimeout(run, 250);
    else requestAnimationFrame(run);
  }

  #render() {
    const messages = this.store.branch;
    const last = messages.at(-1);
    messages.push(...this.#unconfirmed());
    const wanted = new Set(messages.map((message) => message.id));
    for (const [id, article] of this.#articles) {
      if (wanted.has(id)) continue;
      article.remove();
      this.#articles.delete(id);
      this.#versions.delete(id);
    }
    messages.forEach((message, index) => {
      const article = this.#article(message);
      if (this.container.children[index] !== article) {
        this.container.insertBefore(article, this.container.children[index] ?? null);
      }
      this.#fill(article, message, message === last && !this.store.active);
    });
  }

  /** A prompt's event may come before the answer to its command. */
  #unconfirmed() {
    const isNew = ({ id, role, author }) => role === "user" && author?.id === this.me && !this.#known.has(id);
    const arrived = this.#pending.length ? [...this.store.messages.values()].filter(isNew).map(plainText) : [];
    return this.#pending.filter((message) => {
      const index = arrived.indexOf(plainText(message));
      if (index >= 0) arrived.splice(index, 1);
      return index < 0;
    });
  }

  #article(message) {
    let article = this.#articles.get(message.id);
    if (article) return article;
    article = this.template.content.cloneNode(true).firstElementChild;
    article.dataset.role = message.role;
    article.dataset.id = message.id;
    const heading = article.querySelector(".author");
    heading.id = `author-${message.id}`;
    article.setAttribute("aria-labelledby", heading.id);
    article.querySelector(".retry").addEventListener("click", () => {
      this.onRetry(this.store.messages.get(message.id).generation);
    });
    article.querySelector(".edit").addEventListener("click", () => this.#edit(article, message.id));
    const versions = new Versions((step) => this.#turn(message.id, step));
    article.querySelector(".state").after(versions.node);
    this.#versions.set(message.id, versions);
    const copy = article.querySelector(".copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(plainText(this.store.messages.get(message.id)));
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    });
    this.#articles.set(message.id, article);
    return article;
  }

  #fill(article, message, isLast) {
    article.dataset.status = message.status;
    article.dataset.mine = message.role === "user" && (!message.author || message.author.id === this.me);
    article.querySelector(".author").textContent = this.#authorName(message);
    showParts(article.querySelector(".body"), message, (call, decision) => {
      this.onDecide(this.store.messages.get(message.id).generation, call, decision);
    });
    const state = article.querySelector(".state");
    const text = this.#stateText(message);
    if (state.textContent !== text) state.textContent = text;
    const mayChange = !this.store.active && ENDED.has(message.status);
    const retry = article.querySelector(".retry");
    retry.hidden = !(isLast && mayChange && message.role === "assistant");
    retry.textContent = message.status === "completed" ? "Regenerate" : "Retry";
    article.querySelector(".edit").hidden = !(mayChange && article.dataset.mine === "true");
    const siblings = this.#siblings(message.id);
    this.#versions.get(message.id).show(siblings.indexOf(message.id), siblings.length);
    article.querySelector(".copy").hidden = message.role !== "assistant" || !plainText(message) || message.status === "running";
  }

  /** The versions of a message: those that stand in the same place. */
  #siblings(id) {
    const parent = this.store.messages.get(id)?.parent;
    return [...this.store.messages.values()].filter((other) => other.parent === parent).map((other) => other.id);
  }

  #turn(id, step) {
    const siblings = this.#siblings(id);
    this.onTurn(siblings[siblings.indexOf(id) + step]);
  }

  #edit(article, id) {
    const body = article.querySelector(".body");
    const footer = article.querySelector(".message-footer");
    const end = () => {
      editor.node.remove();
      body.hidden = footer.hidden = false;
    };
    const onSend = async (text) => {
      const taken = await this.onEdit(id, text);
      if (taken) end();
      return taken;
    };
    const onCancel = () => {
      end();
      article.querySelector(".edit").focus();
    };
    const editor = new Editor(plainText(this.store.messages.get(id)), { onSend, onCancel });
    body.hidden = footer.hidden = true;
    body.after(editor.node);
    editor.begin();
  }

  #authorName(message) {
    if (message.role === "assistant") {
      return this.modelLabel(this.store.generations.get(message.generation)?.model) || "Assistant";
    }
    return !message.author || message.author.id === this.me ? "You" : message.author.name;
  }

  #stateText(message) {
    if (message.status === "sending") return "Sending…";
    if (message.status === "running") {
      const status = this.store.generations.get(message.generation)?.status;
      if (status === "waiting") return "";
      return message.phase || (status === "queued" ? "Waiting for its turn" : "");
    }
    const generation = this.store.generations.get(message.generation);
    const cut = generation?.finish_reason === "length";
    if (message.status === "completed") return cut ? "Cut off at the length limit." : "";
    const error = message.error ?? generation?.error;
    if (error) return error.message || `${ENDINGS[message.status]} (${error.code})`;
    return ENDINGS[message.status] ?? "";
  }
}

/** One child per part: text, refusal, reasoning folded away, or what is no text. */
function showParts(body, message, onDecide) {
  const parts = message.parts.filter(Boolean);
  parts.forEach((part, index) => {
    let node = body.children[index];
    if (node?.dataset.kind !== part.type) {
      const fresh = OTHERS.has(part.type) ? buildOther(part.type, onDecide) : buildPart(part.type);
      if (node) node.replaceWith(fresh);
      else body.append(fresh);
      node = fresh;
    }
    if (OTHERS.has(part.type)) showOther(node, part, message.status !== "running");
    else showText(node.querySelector(".text") ?? node, part.text ?? "");
  });
  while (body.children.length > parts.length) body.lastElementChild.remove();
}

function buildPart(kind) {
  const text = document.createElement("div");
  text.className = "text";
  if (kind !== "reasoning") {
    const part = document.createElement("div");
    part.className = "part";
    part.dataset.kind = kind;
    part.append(text);
    return part;
  }
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  details.className = "part reasoning";
  details.dataset.kind = kind;
  summary.textContent = "Reasoning";
  details.append(summary, text);
  return details;
}
