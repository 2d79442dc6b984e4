/** A room's conversation as it stands, kept up to date. */

import { EMPTY, active, apply, branch, fromSnapshot, isIntact, versions } from "./state.js";
import { Emitter } from "./wire.js";

/**
 * Follows a room and keeps the state that its events make. Dispatches `change` with the state after every event. An
 * answer that ends with another text than the server's is fetched again.
 */
export class Conversation extends Emitter {
  /** @type {import ("./state.js").State} */
  state = EMPTY;

  /**
   * @param {import ("./room.js").Room} room
   * @param {Record<string, any>} [snapshot] the conversation as of the room's `lastEventId`
   */
  constructor(room, snapshot) {
    super();
    this.room = room;
    if (snapshot) this.state = fromSnapshot(snapshot);
    room.on("event", ({ data, id }) => {
      this.state = apply(this.state, data, id);
      this.emit("change", this.state);
      if (data.type === "message-end") this.#verify(data.message);
      // A branch that has ended before what is here began.
      if (data.type === "branch-chosen" && !this.messages.has(data.leaf)) room.refresh();
    });
  }

  get messages() {
    return this.state.messages;
  }

  get generations() {
    return this.state.generations;
  }

  /** The messages of the branch on show. */
  get branch() {
    return branch(this.state);
  }

  /** The ids of the versions of a message, itself among them. @param {string} id @returns {string[]} */
  versions(id) {
    const message = this.messages.get(id);
    return message ? versions(this.state).get(message.parent) : [];
  }

  /** The generations at work, then those that wait. */
  get active() {
    return active(this.state);
  }

  async #verify(id) {
    const message = this.messages.get(id);
    if (message && !(await isIntact(message))) this.room.refresh();
  }
}
