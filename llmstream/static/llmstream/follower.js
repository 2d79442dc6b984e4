/** A tab whose rooms another tab's connection serves. Its commands are requests of its own, as its own user. */

import { Apart } from "./apart.js";
import { Seat } from "./seat.js";

/** A leader that does not answer for this long is replaced. */
const ANSWER_MS = 4_000;
/** How often a tab that is looked at makes sure that there is a leader. */
const GREET_MS = 20_000;

export class Follower {
  name = "tab";
  carriesCommands = false;
  hasRoomStates = true;
  /** @type {Map<string, Seat>} */
  #seats = new Map();
  #leader = "";
  #silence;
  #overdue;
  #greeting;

  /** @param {(message: object) => void} post to the other tabs @param {() => void} onSilence nobody leads */
  constructor(place, host, post, onSilence) {
    this.http = place.http;
    this.host = host;
    this.post = post;
    this.onSilence = onSilence;
    this.apart = new Apart(place, host);
  }

  start() {
    clearInterval(this.#greeting);
    this.#greeting = setInterval(() => globalThis.document?.hidden || this.#greet(), GREET_MS);
    this.#greet();
    this.host.onReady();
  }

  stop() {
    clearInterval(this.#greeting);
    clearTimeout(this.#silence);
    clearTimeout(this.#overdue);
    for (const seat of this.#seats.values()) seat.stop();
    this.#seats.clear();
    this.apart.stop();
    this.post({ type: "bye" });
  }

  wake(suspect) {
    this.#greet();
    this.apart.wake(suspect);
    for (const seat of this.#seats.values()) if (seat.status === "waiting") seat.wake();
  }

  check() {}

  /** What is for sockets only goes over the leader's. */
  write(frame) {
    this.post({ type: "write", frame });
    return true;
  }

  join(room, ref) {
    this.#drop(room);
    if (room.generation) return this.apart.join(room, ref);
    this.#seats.set(room.id, new Seat(room, ref, this.http, this.host));
    this.host.onRoomState(room, { status: "connecting" });
    this.post({ type: "join", room: room.id, after: room.lastEventId });
  }

  leave(room) {
    if (this.#drop(room)) this.post({ type: "leave", room: room.id });
  }

  /** Take what the leader says. */
  receive(message, me) {
    const { type, from, room, frame, state } = message;
    if (type === "leader" || type === "welcome") this.#onLeader(from, type === "leader");
    else if (type === "roll") this.#onRoll(message.tabs.includes(me));
    else if (type === "admitted") this.#seats.get(room)?.admit(message);
    else if (type === "refused") this.#onRefused(room);
    else if (type === "frame") this.#seats.get(frame.room)?.receive(frame, message.after);
    else if (type === "state") this.#onState(room, state);
  }

  #drop(room) {
    const seat = this.#seats.get(room.id);
    seat?.stop();
    this.#seats.delete(room.id);
    this.apart.leave(room);
    return seat;
  }

  /** Browsers let the timers of tabs that nobody looks at wait; a message is heard at once. */
  #greet() {
    this.post({ type: "hello" });
    this.#silence ??= setTimeout(() => this.onSilence(), ANSWER_MS);
  }

  #onLeader(from, isNew) {
    clearTimeout(this.#silence);
    this.#silence = undefined;
    const changed = isNew || (this.#leader && this.#leader !== from);
    this.#leader = from;
    if (changed) this.host.onReady();
  }

  /** A leader that has not heard of us for long forgets us. */
  #onRoll(isKnown) {
    this.post({ type: "here" });
    if (!isKnown) this.host.onReady();
  }

  #onRefused(id) {
    const seat = this.#seats.get(id);
    if (!seat) return;
    seat.stop();
    this.#seats.delete(id);
    this.apart.join(seat.room, seat.ref);
  }

  #onState(room, state) {
    clearTimeout(this.#overdue);
    if (state.status === "waiting") {
      this.#overdue = setTimeout(() => this.#greet(), Math.max(0, state.retryAt - Date.now()) + 1_000);
    }
    for (const [id, seat] of this.#seats) if (!room || room === id) seat.follow(state);
  }
}
