/**
 * Commands that have not been answered yet, whatever connection they go over. Each may be sent again: the server carries
 * it out once however often it comes.
 */

/**
 * @typedef {object} Command
 * @property {Record<string, any>} frame with a `ref`
 * @property {"" | "socket" | "http"} via what it is under way on
 * @property {(result: any) => void} resolve
 * @property {(error: Error) => void} reject
 */

export class Outbox {
  /** @type {Map<number, Command>} */
  #commands = new Map();

  /** Keep a command until it is answered; returns the promise of its answer. */
  add(frame) {
    return new Promise((resolve, reject) => {
      this.#commands.set(frame.ref, { frame, via: "", resolve, reject });
    });
  }

  /** Those that are not under way, oldest first. */
  get waiting() {
    return [...this.#commands.values()].filter((command) => !command.via);
  }

  resolve(ref, result) {
    this.#take(ref)?.resolve(result);
  }

  /** Returns whether `ref` is one of these commands. */
  reject(ref, error) {
    const command = this.#take(ref);
    command?.reject(error);
    return Boolean(command);
  }

  /** The socket has broken: what was under way on it waits for another way. */
  socketLost() {
    for (const command of this.#commands.values()) if (command.via === "socket") command.via = "";
  }

  rejectAll(error) {
    for (const ref of [...this.#commands.keys()]) this.reject(ref, error);
  }

  #take(ref) {
    const command = this.#commands.get(ref);
    this.#commands.delete(ref);
    return command;
  }
}
