/** Rooms that tabs cannot share, such as those of one answer: on a connection of this tab's own. */

export class Apart {
  #connection = null;
  #rooms = new Map();

  /** @param {import ("./connection.js").Place} place @param {import ("./connection.js").ConnectionHost} host */
  constructor(place, host) {
    this.place = place;
    this.host = host;
  }

  get isUsed() {
    return this.#rooms.size > 0;
  }

  join(room, ref) {
    this.#rooms.set(room.id, { room, ref });
    this.host.onRoomState(room, { status: "connecting" });
    if (this.#connection) return this.#connection.join(room, ref);
    this.#connection = this.place.connect({
      ...this.host,
      onState: (state) => {
        if (state.status === "open") return;
        for (const { room: one } of this.#rooms.values()) this.host.onRoomState(one, state);
      },
      onReady: () => {
        for (const { room: one, ref: its } of this.#rooms.values()) this.#connection.join(one, its);
      },
      onLost: () => {},
    });
    this.#connection.start();
  }

  leave(room) {
    if (!this.#rooms.delete(room.id)) return;
    this.#connection.leave(room);
    if (!this.isUsed) this.stop();
  }

  stop() {
    this.#connection?.stop();
    this.#connection = null;
    this.#rooms.clear();
  }

  wake(suspect) {
    this.#connection?.wake(suspect);
  }
}
