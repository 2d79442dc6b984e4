/** Commands as HTTP requests, for pages without a socket and for frames that are too large for one. */

import { LLMStreamError, connectionLost } from "./wire.js";

const segment = encodeURIComponent;
/** Commands up to this length survive the page that sent them; browsers allow 64 KiB for all that are under way. */
const KEEPALIVE_LENGTH = 8_000;

/** Each command: its address, the fields of its body, and its method if it is not POST. */
const REQUESTS = {
  send: ({ type, ref, room, ...body }) => [`conversations/${segment(room)}/messages/`, body],
  choose: ({ room, leaf }) => [`conversations/${segment(room)}/`, { leaf }, "PATCH"],
  stop: ({ generation }) => [`generations/${segment(generation)}/stop/`, {}],
  retry: ({ generation, client_id, model, busy }) => [
    `generations/${segment(generation)}/retry/`,
    { client_id, model, busy },
  ],
  steer: ({ generation, content, client_id }) => [
    `generations/${segment(generation)}/steer/`,
    { content, client_id },
  ],
  approve: (frame) => decision(frame, "approve"),
  deny: (frame) => decision(frame, "deny"),
};

function decision({ generation, call }, decided) {
  return [`generations/${segment(generation)}/tool-calls/${segment(call)}/`, { decision: decided }];
}

export class Http {
  /** `api` is where the site mounts `llmstream.urls`. */
  constructor(api, csrfToken) {
    this.api = api;
    this.csrfToken = csrfToken;
  }

  /** The address of a room's stream from its last event id on, which begins with `ready`. */
  streamUrl(room) {
    return this.#eventsUrl(room, { last_event_id: room.lastEventId, ready: 1 });
  }

  /**
   * What follows a room's last event id, once there is something or the server has waited; null when its one answer is
   * over. Rejects like `command`.
   */
  async events(room, wait, signal) {
    const url = this.#eventsUrl(room, { after: room.lastEventId, wait });
    return this.#json(url, { headers: { Accept: "application/json" }, cache: "no-store", signal });
  }

  /** Carry out a command frame. Rejects with the server's error, or `connection_lost` when no answer of its came. */
  async command(frame) {
    const [path, body, method = "POST"] = REQUESTS[frame.type](frame);
    const token = this.csrfToken || cookieToken();
    const text = JSON.stringify(body);
    return this.#json(this.api + path, {
      method,
      headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": token },
      body: text,
      keepalive: text.length <= KEEPALIVE_LENGTH,
    });
  }

  /** Status and error of an answer, 0 when there is none. An `EventSource` tells neither why it gets no stream. */
  async probe(url, type = "text/event-stream") {
    const abort = new AbortController();
    try {
      const response = await fetch(url, { headers: { Accept: type }, signal: abort.signal });
      const body = response.ok ? {} : await response.json().catch(() => ({}));
      return { status: response.status, error: body.error };
    } catch {
      return { status: 0 };
    } finally {
      abort.abort();
    }
  }

  /** Whether the site answers requests. */
  async isReachable() {
    const { status } = await this.probe(`${this.api}conversations/`, "application/json");
    return status > 0 && status < 500;
  }

  #eventsUrl({ id, generation }, query) {
    const path = generation ? `generations/${segment(generation)}/events/` : `conversations/${segment(id)}/events/`;
    const given = Object.entries(query).filter(([, value]) => value);
    return `${this.api}${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
  }

  async #json(url, options) {
    let response, parsed;
    try {
      response = await fetch(url, options);
      if (response.status === 204) return null;
      parsed = await response.json();
    } catch {
      throw connectionLost();
    }
    if (response.ok) return parsed;
    // A proxy's error page is no answer.
    if (!parsed?.error?.code) throw connectionLost();
    throw new LLMStreamError(parsed.error, parsed);
  }
}

/** Read anew each time: signing in changes the cookie. */
export function cookieToken() {
  return globalThis.document?.cookie.match(/(?:^|;\s*)csrftoken=([^;]*)/)?.[1] ?? "";
}
