/** The state of one conversation, built from a snapshot and the events after it. No DOM in here. */

const ACTIVE = new Set(["queued", "running", "waiting"]);
const PART_OF = { "text-delta": "text", "reasoning-delta": "reasoning" };

/** Ids are `<conversation>.<epoch>.<seq>`; within one conversation and epoch they sort as text. */
function isStale(id, last) {
  const prefix = (text) => text.slice(0, text.lastIndexOf("."));
  return Boolean(id && last) && prefix(id) === prefix(last) && id <= last;
}

export class Store extends EventTarget {
  conversation = null;
  messages = new Map();
  generations = new Map();
  leaf = null;
  lastEventId = "";

  /** Take a snapshot event or the state that the server rendered; whatever was here before is dropped. */
  load(state) {
    this.conversation = state.conversation ?? { id: state.id, title: state.title, model: state.model };
    this.messages = new Map(state.messages.map((message) => [message.id, { ...message, parts: [...message.parts] }]));
    this.generations = new Map(state.generations.map((generation) => [generation.id, { ...generation }]));
    this.leaf = state.leaf;
    this.lastEventId = state.last_event_id;
    this.#changed();
  }

  /** Apply one event; does nothing when its id says that it was applied before. */
  apply(event, id) {
    if (event.type === "snapshot") return this.load(event);
    if (isStale(id, this.lastEventId)) return;
    if (id) this.lastEventId = id;
    this.#handlers[event.type]?.(event);
    this.#changed();
  }

  /** Take what a POST returned, unless its event came first. */
  merge({ message, generation }) {
    if (message && !this.messages.has(message.id)) this.messages.set(message.id, message);
    if (generation && !this.generations.has(generation.id)) this.generations.set(generation.id, generation);
    this.#changed();
  }

  /** The generation at work or waiting for its turn, or undefined. */
  get active() {
    return [...this.generations.values()].find((generation) => ACTIVE.has(generation.status));
  }

  /** The branch on show, the first message first. */
  get branch() {
    const path = [];
    let message = this.messages.get(this.leaf) ?? [...this.messages.values()].at(-1);
    while (message && !path.includes(message)) {
      path.unshift(message);
      message = this.messages.get(message.parent);
    }
    return path;
  }

  #handlers = {
    "branch-chosen": ({ leaf }) => (this.leaf = leaf),
    "message-created": ({ message }) => {
      this.leaf = message.id;
      if (!this.messages.has(message.id)) this.messages.set(message.id, { ...message, parts: [...message.parts] });
      // An answer waits for its turn until its generation starts.
      const { generation: id, id: answer } = message;
      if (id && !this.generations.has(id)) this.generations.set(id, { id, message: answer, status: "queued" });
    },
    "generation-start": ({ generation, message, model, attempt }) => {
      this.generations.set(generation, { id: generation, message, model, attempt, status: "running", error: null });
      this.#update(message, { status: "running", generation, error: null });
    },
    phase: ({ message, name, detail }) => this.#update(message, { phase: detail || name }),
    "text-delta": (event) => this.#grow(event),
    "reasoning-delta": (event) => this.#grow(event),
    "tool-call": ({ message, part, call, tool, input, step }) =>
      this.#put(message, part, { type: "tool", call, tool, input, step, approval: null }),
    data: ({ message, part, name, data }) => this.#put(message, part, { type: "data", name, data }),
    "steer-accepted": ({ message, part, steer, content, author }) =>
      this.#put(message, part, { type: "steer", steer, content, author }),
    "tool-progress": (event) => this.#tool(event, () => ({ progress: event.progress })),
    "tool-approval-request": (event) => {
      this.#tool(event, () => ({ approval: { decision: null, by: null, expires_at: event.expires_at } }));
      this.#stand(event.generation, "waiting");
    },
    "tool-approval-response": (event) => {
      const { decision, by } = event;
      this.#tool(event, (part) => ({ approval: { ...part.approval, decision, by } }));
      if (!this.messages.get(event.message)?.parts.some(isPending)) this.#stand(event.generation, "running");
    },
    "tool-result": (event) => {
      const key = "error" in event ? "error" : "output";
      this.#tool(event, () => ({ progress: undefined, [key]: event[key] }));
    },
    "message-end": (event) => this.#end(event),
  };

  #update(id, values) {
    const message = this.messages.get(id);
    if (message) Object.assign(message, values);
  }

  #stand(id, status) {
    const generation = this.generations.get(id);
    if (generation) generation.status = status;
  }

  #put(id, part, value) {
    const message = this.messages.get(id);
    if (message) message.parts[part] = value;
  }

  /** Change the part of a tool call; parts are replaced, never changed. */
  #tool({ message: id, call }, change) {
    const parts = this.messages.get(id)?.parts ?? [];
    const index = parts.findIndex((part) => part?.call === call);
    if (index >= 0) parts[index] = { ...parts[index], ...change(parts[index]) };
  }

  #grow({ type, message: id, part, delta }) {
    const message = this.messages.get(id);
    if (!message) return;
    message.parts[part] ??= { type: PART_OF[type], text: "" };
    message.parts[part] = { ...message.parts[part], text: message.parts[part].text + delta };
  }

  #end({ message: id, generation, status, finish_reason, text, text_length, error }) {
    if (text !== undefined) this.#update(id, { parts: [{ type: "text", text }] });
    this.#update(id, { status, finish_reason, error: error ?? null, phase: "" });
    const ended = this.generations.get(generation);
    if (ended) Object.assign(ended, { status, finish_reason, error: error ?? null });
    const message = this.messages.get(id);
    // Lengths count code points. A difference means that something was missed: take a fresh snapshot.
    if (message && text_length !== undefined && [...plainText(message)].length !== text_length) {
      this.dispatchEvent(new Event("mismatch"));
    }
    this.dispatchEvent(new CustomEvent("end", { detail: { id, status } }));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function isPending(part) {
  return part?.approval && !part.approval.decision && !("output" in part) && !part.error;
}

/** The text of a message's text parts. */
export function plainText(message) {
  return message.parts.filter((part) => part?.type === "text").map((part) => part.text).join("");
}
