/** What is around the chat of several people: who is here, who types, which prompts wait, and a form to invite. */

import { _ } from "./chat/words.js";
import { cookieToken } from "./http.js";
import { active, plainText } from "./state.js";

/** Events after which other prompts wait. */
const TURNS = new Set(["message-created", "generation-start", "message-end", "branch-chosen"]);

const WORDS = Object.freeze({
  you: (name) => _("{name} (you)", { name }),
  devices: (count) => _("{count} devices", { count }),
  here: _("is here"),
  away: _("is not here"),
  typing: (names) => {
    const told = { names: names.join(", ") };
    return names.length === 1 ? _("{names} is typing…", told) : _("{names} are typing…", told);
  },
  remove: _("Remove"),
  failed: _("The server cannot be reached."),
});

/** `<llm-room>` around an `<llm-chat>`, as the tag `llmstream_room` makes it. Without the tag's markup it does nothing. */
export class RoomElement extends HTMLElement {
  #people = new Map();
  #room = null;
  #listening = new AbortController();

  async connectedCallback() {
    await customElements.whenDefined("llm-chat");
    this.chat = /** @type {any} */ (this.querySelector("llm-chat"));
    for (const item of this.querySelectorAll("[data-user]")) {
      this.#people.set(item.dataset.user, { id: item.dataset.user, name: item.dataset.name });
    }
    this.#listening = new AbortController();
    const listen = (target, type, handler) => target?.addEventListener(type, handler, this.#listening);
    listen(this, "llm-connection", () => this.#follow());
    listen(this, "llm-event", ({ detail }) => TURNS.has(detail.event.type) && queueMicrotask(() => this.#showQueue()));
    listen(this.querySelector(".llm-invite"), "submit", (event) => this.#invite(event));
    this.#follow();
  }

  disconnectedCallback() {
    this.#listening.abort();
  }

  get #me() {
    return this.chat.getAttribute("user");
  }

  /** Listen to the chat's room, which is another one when the chat shows another conversation. */
  #follow() {
    const { room } = this.chat;
    if (room && room !== this.#room) {
      this.#room = room;
      room.on("presence", () => this.#showPeople());
      room.on("joined", () => this.#showPeople());
      room.on("typing", () => this.#showTyping());
    }
    this.#showPeople();
    this.#showTyping();
    this.#showQueue();
  }

  #showPeople() {
    const here = new Map((this.#room?.members ?? []).map(({ user, devices }) => [user?.id, { user, devices }]));
    for (const [id, { user }] of here) if (user) this.#people.set(id, user);
    const items = [...this.#people.values()].map((person) => this.#person(person, here.get(person.id)?.devices ?? 0));
    this.querySelector(".llm-people")?.replaceChildren(...items);
  }

  #person({ id, name }, devices) {
    const item = element("li", "llm-person");
    Object.assign(item.dataset, { user: id, name, devices });
    item.append(element("bdi", "", id === this.#me ? WORDS.you(name) : name));
    if (devices > 1) item.append(element("span", "llm-devices", WORDS.devices(devices)));
    item.append(element("span", "llm-unseen", devices ? WORDS.here : WORDS.away));
    return item;
  }

  #showTyping() {
    const names = (this.#room?.typists ?? []).filter((user) => user && user.id !== this.#me).map(({ name }) => name);
    const line = this.querySelector(".llm-typing");
    if (line) line.textContent = names.length ? WORDS.typing(names) : "";
  }

  /** The prompts that wait, with a button that takes one's own way out of turn. */
  #showQueue() {
    const section = /** @type {HTMLElement | null} */ (this.querySelector(".llm-queue"));
    if (!section) return;
    const { state } = this.chat;
    const items = active(state).slice(1).map((generation) => {
      const prompt = state.messages.get(state.messages.get(generation.message)?.parent);
      const item = element("li", "");
      item.append(element("bdi", "", prompt?.author?.name ?? ""), element("span", "", prompt ? plainText(prompt) : ""));
      const button = element("button", "llm-button", WORDS.remove);
      button.addEventListener("click", () => this.#room.stop(generation.id).catch(({ message }) => this.#warn(message)));
      if (this.#room?.role !== "reader") item.append(button);
      return item;
    });
    section.hidden = !items.length;
    section.querySelector("ol").replaceChildren(...items);
  }

  async #invite(event) {
    event.preventDefault();
    const form = event.target;
    const user = form.elements.user.value.trim();
    this.#warn("");
    const api = this.chat.getAttribute("api") ?? "/llmstream/";
    const headers = { "Content-Type": "application/json", Accept: "application/json" };
    headers["X-CSRFToken"] = this.chat.getAttribute("csrf-token") || cookieToken();
    try {
      const url = `${api}conversations/${this.chat.getAttribute("conversation")}/members/`;
      const response = await fetch(url, { method: "POST", headers, body: JSON.stringify({ user }) });
      const answer = await response.json();
      if (!response.ok) return this.#warn(answer.error.message);
      this.#people.set(answer.user.id, answer.user);
      form.reset();
      this.#showPeople();
    } catch {
      this.#warn(WORDS.failed);
    }
  }

  #warn(text) {
    const line = /** @type {HTMLElement | null} */ (this.querySelector(".llm-room-alert"));
    if (line) Object.assign(line, { textContent: text, hidden: !text });
  }
}

function element(name, className, text = "") {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

if (!customElements.get("llm-room")) customElements.define("llm-room", RoomElement);
