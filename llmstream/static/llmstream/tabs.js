/**
 * One connection for all tabs of a browser. Whoever holds a lock leads: it has the connection and passes on what arrives.
 * The others follow; one of them leads as soon as the leader is gone, is put aside by the browser, or says nothing.
 */

import { Follower } from "./follower.js";
import { cookieToken } from "./http.js";
import { Leader } from "./leader.js";
import { randomId } from "./wire.js";

/** Locks exist on https and localhost only. */
export function canShare() {
  return typeof BroadcastChannel !== "undefined" && Boolean(globalThis.document && globalThis.navigator?.locks);
}

/** Stands in the place of a `Connection`. */
export class Tabs {
  #place;
  #host;
  #id = randomId();
  /** @type {Leader | Follower | null} */
  #role = null;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  #holding = new AbortController();

  /** @param {import ("./connection.js").Place} place @param {import ("./connection.js").ConnectionHost} host */
  constructor(place, host) {
    this.#place = place;
    this.#host = { ...host, onState: (state) => this.#onState(state) };
    this.host = host;
  }

  get name() {
    return this.#role?.name ?? "tab";
  }

  /** Until it is known who leads, commands wait. */
  get carriesCommands() {
    return this.#role?.carriesCommands ?? true;
  }

  get hasRoomStates() {
    return this.#role?.hasRoomStates ?? false;
  }

  start() {
    if (this.#channel) return void this.#role?.start();
    this.#channel = new BroadcastChannel(this.#key);
    this.#channel.addEventListener("message", ({ data }) => this.#receive(data));
    this.#request(() => ({ ifAvailable: true }));
  }

  /** Leave the others alone, and let one of them lead, until `start` or `wake`. */
  stop() {
    this.#role?.stop();
    this.#role = null;
    this.#holding.abort();
    this.#channel?.close();
    this.#channel = null;
  }

  wake(suspect) {
    if (this.#channel) this.#role?.wake(suspect);
    else this.start();
  }

  check() {
    this.#role?.check();
  }

  write(frame) {
    return this.#role?.write(frame) ?? false;
  }

  join(room, ref) {
    this.#role?.join(room, ref);
  }

  leave(room) {
    this.#role?.leave(room);
  }

  /** Somebody else who signs in gets another cookie; a page that knows its user says so. */
  get #key() {
    const { url, http, mode, user } = this.#place;
    return JSON.stringify(["llmstream", url, http.api, mode, user || cookieToken()]);
  }

  /** Ask for the lock, which is held until `#holding` is aborted or somebody takes it away. */
  #request(options) {
    this.#holding.abort();
    const { signal } = (this.#holding = new AbortController());
    const hold = (lock) => {
      if (signal.aborted) return;
      if (!lock) return this.#follow();
      return new Promise((release) => {
        signal.addEventListener("abort", release);
        this.#lead();
      });
    };
    navigator.locks.request(this.#key, options(signal), hold).catch(() => {
      if (signal.aborted) return;
      // A browser that gives no locks leaves each tab alone; else another tab has missed us.
      if (this.#role) this.#follow();
      else this.#lead();
    });
  }

  #lead() {
    this.#role?.stop();
    this.#role = new Leader(this.#place, this.#host, this.#post);
    this.#role.start();
    this.#post({ type: "leader" });
  }

  #follow() {
    this.#role?.stop();
    this.#role = new Follower(this.#place, this.#host, this.#post, () => this.#request(() => ({ steal: true })));
    this.#role.start();
    this.#request((signal) => ({ signal }));
  }

  #post = (message) => this.#channel?.postMessage({ ...message, from: this.#id });

  #receive(message) {
    if (!message.to || message.to === this.#id) this.#role?.receive(message, this.#id);
  }

  /** A connection that was given up for good may not be what another tab gets: each finds out for itself. */
  #onState(state) {
    this.host.onState(state);
    if (state.status === "closed") this.stop();
  }
}
