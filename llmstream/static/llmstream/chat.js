/**
 * A chat as one element: `<llm-chat conversation="…">`. It shows a conversation as it is written, on the page's one
 * connection, and lets its reader send, edit, stop, retry, decide and choose a branch.
 */

import { EMPTY, fromSnapshot } from "./state.js";
import { Conversation } from "./conversation.js";
import { Composer } from "./chat/composer.js";
import { hide, put } from "./chat/dom.js";
import { createLayout } from "./chat/layout.js";
import { StickToEnd } from "./chat/scroll.js";
import { Sharing } from "./chat/sharing.js";
import { Transcript } from "./chat/transcript.js";
import { WORDS, _ } from "./chat/words.js";

/** Shorter breaks need no announcement. */
const OUTAGE_MS = 3_000;
const OBSERVED = ["conversation", "access", "approvals", "assistant", "label", "placeholder", "user"];

/** Dispatches `llm-send` (cancelable), `llm-event`, `llm-start`, `llm-end`, `llm-connection`, `llm-error`: docs/widget.md. */
export class Chat extends HTMLElement {
  static observedAttributes = OBSERVED;
  static #sharing = new Sharing();
  #layout;
  #transcript;
  #scroll;
  #composer;
  /** @type {Conversation | null} */
  #conversation = null;
  #release = null;
  #listening = new AbortController();
  #outage;
  #announcedLoss = false;

  constructor() {
    super();
    this.#layout = createLayout(this.attachShadow({ mode: "open" }), () => {
      this.querySelector(":scope > .llm-transcript")?.remove();
    });
    const { log, transcript, latest, form, input, stop, connect, chat } = this.#layout;
    const handlers = {
      onRetry: (generation) => this.#decide(() => this.room.retry(generation)),
      onDecide: (generation, call, decision) => this.#decide(() => this.room[decision](generation, call)),
      onEdit: ({ id, parts }, text) => this.#submit(text, parts.filter(({ type }) => type === "file"), id),
      onTurn: (message, step) => this.#turn(message, step),
      onRender: () => this.#scroll.grown(),
      announce: (text) => this.#announce(text),
      warn: (text) => this.#warn(text),
    };
    this.#transcript = new Transcript(log, handlers, () => this.#reader);
    this.#scroll = new StickToEnd(transcript, log, latest);
    const onType = () => this.room?.typing(Boolean(input.value));
    this.#composer = new Composer(form, input, { onSend: (text, files) => this.#submit(text, files), onType });
    stop.addEventListener("click", () => this.stop());
    connect.addEventListener("click", () => this.connect());
    chat.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** The client that this page's chats share. @type {import ("./client.js").LLMStream | null} */
  client = null;

  /** What this chat follows. @type {import ("./client.js").Room | null} */
  room = null;

  /** The conversation as it stands. @returns {import ("./state.js").State} */
  get state() {
    return this.#conversation?.state ?? EMPTY;
  }

  /** What stands in the message box. @type {string} */
  get text() {
    return this.#composer.text;
  }

  set text(value) {
    this.#composer.text = value;
  }

  /**
   * Send a prompt as if it had been typed. Rejects with an `LLMStreamError`, which is shown, too.
   * @param {string} text @param {import ("./room.js").SendOptions} [options]
   */
  async send(text, options = {}) {
    const remove = this.#transcript.addPending(text, options.attachments);
    this.#showBusy();
    this.#scroll.pin();
    try {
      return await this.#command(() => this.room.send(text, { ...this.#defaults, ...options }), true);
    } finally {
      remove();
      this.#showBusy();
    }
  }

  /** Stop the answer at work, if there is one. */
  async stop() {
    const generation = this.#conversation?.active[0]?.id;
    if (generation) await this.#command(() => this.room.stop(generation));
  }

  /** Answer the last prompt again, once its answer has ended. @param {import ("./room.js").SendOptions} [options] */
  async retry(options) {
    const generation = this.#conversation?.branch.at(-1)?.generation;
    if (generation) await this.#command(() => this.room.retry(generation, options));
  }

  /**
   * Send a prompt in the place of another one. Rejects like `send`.
   * @param {string} message its id @param {string} text @param {import ("./room.js").SendOptions} [options]
   */
  async edit(message, text, options = {}) {
    return this.#command(() => this.room.edit(message, text, { ...this.#defaults, ...options }), true);
  }

  /** Show the branch that a message is on, to everybody. @param {string} message its id */
  async chooseBranch(message) {
    return this.#command(() => this.room.chooseBranch(message));
  }

  /** Try to connect now, also after the connection was given up. */
  connect() {
    this.client?.connect();
  }

  /** Put the cursor into the message box. */
  focus(options) {
    this.#layout.input.focus(options);
  }

  /** Show the newest message, and follow it. */
  scrollToEnd() {
    this.#scroll.pin();
  }

  connectedCallback() {
    this.#showAttributes();
    // Until the page has been read, what is inside the element may not be there yet.
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => this.#start());
    else this.#start();
  }

  disconnectedCallback() {
    // Being moved is no reason to begin anew.
    queueMicrotask(() => !this.isConnected && this.#end());
  }

  attributeChangedCallback(name) {
    if (!this.isConnected) return;
    this.#showAttributes();
    if (name !== "conversation" || !this.room) return;
    this.#end();
    this.#start();
  }

  #start() {
    if (this.room || !this.isConnected) return;
    const found = this.querySelector(":scope > script[type='application/json']");
    const carried = found ? JSON.parse(found.textContent) : undefined;
    const id = this.getAttribute("conversation") || carried?.id;
    if (!id) throw new Error("<llm-chat> needs a conversation.");
    const snapshot = carried?.id === id ? carried : undefined;
    const { client, room, release } = Chat.#sharing.follow(this.#options, id, snapshot?.last_event_id);
    Object.assign(this, { client, room });
    this.#conversation = new Conversation(room, snapshot);
    // Another chat has been following for longer: what came since the page was made has passed.
    if (room.lastEventId !== (snapshot?.last_event_id ?? "")) room.refresh();
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const listen = (target, type, listener) => target.addEventListener(type, listener, { signal });
    listen(this.#conversation, "change", () => this.#showState());
    listen(room, "event", ({ data, id: event }) => this.#onEvent(data, event));
    listen(room, "state", ({ data }) => this.#showConnection(data));
    listen(room, "joined", () => this.#showAttributes());
    listen(globalThis, "pagehide", () => this.#composer.flush());
    this.#release = release;
    if (this.hasAttribute("attachments")) this.#composer.takeFiles(this, this.#announce, this.#warn);
    this.#composer.useDraft(`llmstream-draft:${this.getAttribute("user") ?? ""}:${id}`);
    this.#transcript.complete(this);
    this.#showConnection(room.state);
    this.#showState(snapshot ? fromSnapshot(snapshot) : EMPTY);
  }

  #end() {
    this.#listening.abort();
    this.#outage = clearTimeout(this.#outage);
    this.#composer.flush();
    this.#composer.files = this.#composer.files?.close();
    this.text = "";
    this.#warn("");
    this.#release?.();
    this.#release = this.room = this.client = this.#conversation = null;
  }

  get #options() {
    const options = { url: "socket", api: "api", transport: "transport", csrfToken: "csrf-token", user: "user" };
    const given = Object.entries(options).map(([name, attribute]) => [name, this.getAttribute(attribute)]);
    return { share: this.getAttribute("share") !== "off", ...Object.fromEntries(given.filter(([, value]) => value)) };
  }

  get #defaults() {
    const busy = /** @type {any} */ (this.getAttribute("busy") || undefined);
    return { model: this.getAttribute("model") || undefined, busy };
  }

  get #reader() {
    const access = this.room?.role ?? this.getAttribute("access") ?? "writer";
    const canWrite = access !== "reader";
    return {
      me: this.getAttribute("user") ?? "",
      assistant: this.getAttribute("assistant") ?? "",
      canWrite,
      canDecide: canWrite && this.getAttribute("approvals") !== "off",
    };
  }

  #showAttributes() {
    const { chat, input, form, readOnly } = this.#layout;
    chat.setAttribute("aria-label", this.getAttribute("label") || WORDS.chat);
    input.setAttribute("aria-label", WORDS.message);
    input.placeholder = this.getAttribute("placeholder") ?? WORDS.placeholder;
    const { canWrite } = this.#reader;
    form.hidden = !canWrite;
    readOnly.hidden = canWrite;
    this.#transcript.show();
    this.#showBusy();
  }

  #showState(state = this.state) {
    this.#transcript.show(state);
    this.#showBusy();
  }

  #showBusy() {
    const { stop, empty } = this.#layout;
    const isBusy = Boolean(this.#conversation?.active.length);
    // Focus must not fall out of the chat with the button.
    if (!isBusy && this.shadowRoot.activeElement === stop) this.focus();
    hide(stop, !isBusy);
    hide(empty, !this.#transcript.isEmpty);
  }

  /** Send what was typed, in the place of the message `edits` if there is one; returns whether it was taken. */
  async #submit(text, attachments, edits) {
    if (!this.room || !this.#emit("llm-send", { text, attachments, edits }, true)) return false;
    try {
      await (edits ? this.edit(edits, text, { attachments }) : this.send(text, { attachments }));
    } catch {
      return false;
    }
    if (edits) {
      this.focus();
      this.#scroll.pin();
    }
    return true;
  }

  /** Show the version of a message that comes `step` after it. */
  async #turn({ id }, step) {
    const versions = this.#conversation.versions(id);
    const place = versions.indexOf(id) + step;
    this.#scroll.letGo();
    this.#transcript.turnTo(versions[place], step);
    if (!(await this.chooseBranch(versions[place]))) this.#transcript.turnTo("", step);
  }

  /** A button in the transcript was pressed, which goes away then; focus must not fall out of the chat with it. */
  #decide(run) {
    this.#layout.transcript.focus({ preventScroll: true });
    return this.#command(run);
  }

  /** Carry out a command; a refusal is shown, and thrown if `rethrow`. */
  async #command(run, rethrow = false) {
    this.#warn("");
    try {
      return await run();
    } catch (error) {
      if (!error.code) throw error;
      const isSignedOut = error.status === 401 || error.code === "csrf_failed";
      this.#warn(isSignedOut ? WORDS.signedOut : _(error.message));
      this.#emit("llm-error", { code: error.code, message: error.message });
      if (rethrow) throw error;
    }
  }

  #onEvent(event, id) {
    this.#emit("llm-event", { event, id });
    const { type, generation, message, status } = event;
    if (type === "generation-start") {
      this.#announce(WORDS.announced.running);
      this.#emit("llm-start", { generation, message });
    } else if (type === "branch-chosen") {
      this.#announce(WORDS.announced.branch);
    } else if (type === "tool-approval-request") {
      this.#announce(WORDS.announced.waiting);
    } else if (type === "message-end") {
      this.#announce(WORDS.announced[status]);
      this.#warn("");
      this.#emit("llm-end", { generation, message, status });
    }
  }

  #showConnection({ status, reason }) {
    const { line, connection, connect } = this.#layout;
    line.dataset.status = status;
    put(connection, WORDS.connection[status]);
    connect.hidden = status !== "waiting" && status !== "closed";
    if (status === "waiting" || status === "offline") this.#outage ??= setTimeout(() => this.#onOutage(), OUTAGE_MS);
    else if (status !== "connecting") this.#outage = clearTimeout(this.#outage);
    if (status === "open" && this.#announcedLoss) {
      this.#announcedLoss = false;
      this.#announce(WORDS.announced.back);
    }
    if (reason?.code === "not_authenticated") this.#warn(WORDS.signedOut);
    else if (reason?.code === "not_found") this.#warn(WORDS.gone);
    this.#emit("llm-connection", { status, reason });
  }

  #onOutage() {
    this.#announcedLoss = true;
    this.#announce(WORDS.announced.lost);
  }

  #onKey(event) {
    const key = this.getAttribute("toggle-key") ?? "F6";
    if (!key || event.key !== key || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const { input, transcript } = this.#layout;
    (this.shadowRoot.activeElement === input ? transcript : input).focus();
  }

  #announce = (text) => {
    this.#layout.status.textContent = text;
  };

  #warn = (text) => {
    const { alert } = this.#layout;
    put(alert, text);
    alert.hidden = !text;
  };

  /** Returns whether nobody has prevented it. */
  #emit(type, detail, cancelable = false) {
    return this.dispatchEvent(new CustomEvent(type, { detail, cancelable, bubbles: true, composed: true }));
  }
}

// A page may load the module twice, under two addresses.
if (!customElements.get("llm-chat")) customElements.define("llm-chat", Chat);
