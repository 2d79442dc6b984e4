/** One client for all chats of a page, and one room for all that show the same conversation. */

import { LLMStream } from "../client.js";

class Shared {
  uses = 0;
  rooms = new Map();

  constructor(options) {
    this.client = new LLMStream(options);
  }
}

export class Sharing {
  /** @type {Map<string, Shared>} */
  #clients = new Map();

  /**
   * Follow a conversation; `release` ends it. The room may be in use already, and further on than `lastEventId`.
   * @param {import ("../client.js").Options} options @param {string} id @param {string} [lastEventId]
   */
  follow(options, id, lastEventId) {
    const key = JSON.stringify(options);
    const shared = this.#clients.get(key) ?? new Shared(options);
    this.#clients.set(key, shared);
    const { client, rooms } = shared;
    const room = client.room(id, { lastEventId });
    rooms.set(id, (rooms.get(id) ?? 0) + 1);
    shared.uses += 1;
    const release = () => {
      rooms.set(id, rooms.get(id) - 1);
      shared.uses -= 1;
      if (!rooms.get(id)) room.leave();
      if (shared.uses) return;
      client.close();
      this.#clients.delete(key);
    };
    return { client, room, release };
  }
}
