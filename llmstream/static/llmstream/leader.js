/** The tab that has the connection: serves its own rooms, and passes on to the others what is for theirs. */

import { Apart } from "./apart.js";
import { Seat } from "./seat.js";
import { isSeen } from "./wire.js";

/** How often the others are called; one that is silent three times is gone. */
const ROLL_MS = 30_000;
const MISSED = 3;
const REJOIN_MS = 2_000;
const SHARED_FRAMES = new Set(["event", "joined", "presence", "typing"]);

/** A room on the connection. */
class Line {
  ref = /** @type {number | string} */ (0);
  isJoined = false;
  state = { status: "connecting" };
  joined = null;
  members = null;
  /** Our own room on it, with a seat if it is not as far as the line. @type {{room: any, seat: Seat | null} | null} */
  own = null;
  /** The tabs that follow, and which of them shares a state. */
  tabs = new Set();
  sharer = "";

  constructor(id, generation, lastEventId) {
    this.id = id;
    this.generation = generation;
    this.lastEventId = lastEventId;
  }

  get isDirect() {
    return Boolean(this.own && !this.own.seat);
  }
}

export class Leader {
  /** @type {Map<string, Line>} */
  #lines = new Map();
  /** The other tabs, and how often each has not answered. @type {Map<string, number>} */
  #tabs = new Map();
  #state = { status: "connecting" };
  #refs = 0;
  #roll;

  /** @param {(message: object) => void} post to the other tabs */
  constructor(place, host, post) {
    this.http = place.http;
    this.host = host;
    this.post = post;
    this.apart = new Apart(place, host);
    this.connection = place.connect({
      onState: (state) => this.#onState(state),
      onRoomState: (line, state) => this.#onLineState(line, state),
      onReady: () => this.#onReady(),
      onLost: () => this.#onLost(),
      onFrame: (frame) => this.#onFrame(frame),
    });
  }

  get name() {
    return this.connection.name;
  }

  get carriesCommands() {
    return this.connection.carriesCommands;
  }

  get hasRoomStates() {
    const isMixed = this.apart.isUsed || [...this.#lines.values()].some((line) => line.own?.seat);
    return this.connection.hasRoomStates || isMixed;
  }

  start() {
    clearInterval(this.#roll);
    this.#roll = setInterval(() => this.#callRoll(), ROLL_MS);
    this.connection.start();
  }

  stop() {
    clearInterval(this.#roll);
    this.apart.stop();
    for (const { own } of this.#lines.values()) own?.seat?.stop();
    this.connection.stop();
  }

  wake(suspect) {
    this.connection.wake(suspect);
    this.apart.wake(suspect);
  }

  check() {
    this.connection.check();
  }

  write(frame) {
    const line = this.#lines.get(frame.room);
    if (line && frame.type === "presence") line.sharer = "";
    return this.connection.write(frame);
  }

  join(room, ref) {
    const line = this.#lines.get(room.id) ?? new Line(room.id, room.generation, room.lastEventId);
    const isShared = line.tabs.size > 0;
    if (isShared && room.generation) return this.apart.join(room, ref);
    this.#lines.set(room.id, line);
    line.own?.seat?.stop();
    if (isShared && line.lastEventId !== room.lastEventId) {
      line.own = { room, seat: new Seat(room, ref, this.http, this.host) };
      line.own.seat.admit(line);
      return;
    }
    Object.assign(line, { own: { room, seat: null }, generation: room.generation, lastEventId: room.lastEventId });
    this.#join(line, ref);
  }

  leave(room) {
    this.apart.leave(room);
    const line = this.#lines.get(room.id);
    if (line?.own?.room !== room) return;
    line.own.seat?.stop();
    line.own = null;
    this.#leaveUnused(line);
  }

  /** Take what another tab says. */
  receive({ type, from, room, after, frame }) {
    if (type === "leader") return;
    this.#tabs.set(from, 0);
    if (type === "hello") this.#onHello(from);
    else if (type === "join") this.#admit(from, room, after);
    else if (type === "leave") this.#dismiss(from, this.#lines.get(room));
    else if (type === "write") this.#writeFor(from, frame);
    else if (type === "bye") this.#forget(from);
  }

  #join(line, ref) {
    Object.assign(line, { ref, isJoined: false, state: this.#state });
    this.connection.join(line, ref);
  }

  /** The others' timers may run where ours wait. */
  #onHello(from) {
    this.post({ type: "welcome", to: from });
    const { status, retryAt } = /** @type {any} */ (this.#state);
    if (status === "waiting" && retryAt <= Date.now()) this.connection.wake(false);
    else if (globalThis.document?.hidden) this.connection.check();
  }

  #admit(tab, id, after) {
    const found = this.#lines.get(id);
    if (found?.generation) return this.post({ type: "refused", to: tab, room: id });
    const line = found ?? new Line(id, undefined, after);
    line.tabs.add(tab);
    if (!found) {
      this.#lines.set(id, line);
      this.#join(line, `tab-${++this.#refs}`);
    }
    const { state, joined, members } = line;
    this.post({ type: "admitted", to: tab, room: id, state, joined, members });
  }

  #writeFor(tab, frame) {
    const line = this.#lines.get(frame.room);
    if (!line?.tabs.has(tab) || (frame.type !== "typing" && frame.type !== "presence")) return;
    if (frame.type === "presence") line.sharer = frame.state ? tab : "";
    this.connection.write(frame);
  }

  #dismiss(tab, line) {
    if (!line?.tabs.delete(tab)) return;
    if (line.sharer === tab) {
      line.sharer = "";
      this.connection.write({ type: "presence", room: line.id, state: null });
    }
    this.#leaveUnused(line);
  }

  #leaveUnused(line) {
    if (line.own || line.tabs.size) return;
    this.#lines.delete(line.id);
    this.connection.leave(line);
  }

  #forget(tab) {
    this.#tabs.delete(tab);
    for (const line of [...this.#lines.values()]) this.#dismiss(tab, line);
  }

  #callRoll() {
    for (const [tab, missed] of [...this.#tabs]) {
      if (missed >= MISSED) this.#forget(tab);
      else this.#tabs.set(tab, missed + 1);
    }
    if (this.#tabs.size) this.post({ type: "roll", tabs: [...this.#tabs.keys()] });
  }

  #onState(state) {
    this.#state = state;
    this.host.onState(state);
    if (state.status === "open" || state.status === "closed") return;
    for (const line of this.#lines.values()) {
      line.state = state;
      line.own?.seat?.follow(state);
    }
    this.post({ type: "state", state });
  }

  #onLineState(line, state) {
    if (this.#lines.get(line.id) !== line) return;
    line.state = state;
    if (line.own?.seat) line.own.seat.follow(state);
    else if (line.own) this.host.onRoomState(line.own.room, state);
    if (state.status === "closed") this.#refuse(line);
    else if (line.tabs.size) this.post({ type: "state", room: line.id, state });
  }

  #onReady() {
    for (const line of this.#lines.values()) if (!line.isDirect) this.#join(line, `tab-${++this.#refs}`);
    this.host.onReady();
  }

  #onLost() {
    for (const line of this.#lines.values()) line.isJoined = false;
    this.host.onLost();
  }

  #onFrame(frame) {
    const line = this.#lines.get(frame.room);
    if (!line) return this.host.onFrame(frame);
    if (frame.type === "error") return this.#onError(line, frame);
    if (frame.type === "end") return this.#onEnd(line, frame);
    const after = line.lastEventId;
    if (!this.#advance(line, frame)) return;
    if (line.own?.seat) line.own.seat.receive(frame, after);
    else if (line.own) this.host.onFrame(frame);
    if (line.tabs.size && SHARED_FRAMES.has(frame.type)) this.post({ type: "frame", frame, after });
  }

  /** Note what a frame changes for the line; returns whether it is for us at all. */
  #advance(line, frame) {
    const { type, ref, id, event, members } = frame;
    if (type === "joined") {
      if (ref !== line.ref) return false;
      Object.assign(line, { isJoined: true, state: { status: "open" }, joined: frame, members: null });
    } else if (!line.isJoined) {
      return false;
    } else if (type === "presence" && members) {
      line.members = frame;
    } else if (type === "event") {
      if (event.type !== "reset" && event.type !== "snapshot" && isSeen(id, line.lastEventId)) return false;
      line.lastEventId = event.type === "reset" ? "" : (id ?? line.lastEventId);
    }
    return true;
  }

  #onError(line, frame) {
    if (line.isJoined || frame.ref !== line.ref) {
      // What another tab shared was refused, or a command of ours.
      if (line.own || frame.ref != null) this.host.onFrame(frame);
      return;
    }
    const { temporary, retry_after_ms: wait } = frame.error;
    if (!temporary) this.#refuse(line);
    else if (!line.isDirect) setTimeout(() => frame.ref === line.ref && this.#again(line), wait ?? REJOIN_MS);
    if (line.isDirect) this.host.onFrame(frame);
  }

  #again(line) {
    if (this.#lines.get(line.id) === line) this.#join(line, `tab-${++this.#refs}`);
  }

  /** The server does not let us in: each of the others finds out for itself. */
  #refuse(line) {
    this.#lines.delete(line.id);
    if (line.tabs.size) this.post({ type: "refused", room: line.id });
    if (line.own?.seat) this.apart.join(line.own.room, line.own.seat.ref);
  }

  #onEnd(line, frame) {
    // What a room that was left, or is begun anew, still gets is not for us.
    if (frame.reason === "left") return;
    this.#lines.delete(line.id);
    this.connection.leave(line);
    if (line.own) this.host.onFrame(frame);
    if (line.tabs.size) this.post({ type: "frame", frame, after: line.lastEventId });
  }
}
