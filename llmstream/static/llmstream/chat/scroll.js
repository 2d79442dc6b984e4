/** Keep the end of a growing transcript in view until the reader scrolls up. */

import { hide } from "./dom.js";

const LET_GO_PX = 3;
const CATCH_PX = 60;
const QUIET_MS = 250;
/** A wheel is heard before it moves anything; until then the reader is only seemingly at the end. */
const MOVING_MS = 300;

export class StickToEnd {
  #pinned = true;
  #bottom = 0;
  #before = 0;
  #wheeled = -MOVING_MS;
  #observer = new ResizeObserver(() => this.#follow());
  #looked = -QUIET_MS;
  #watching;

  /** @param {HTMLElement} viewport scrolls @param {HTMLElement} content grows @param {HTMLElement} button leads back */
  constructor(viewport, content, button) {
    Object.assign(this, { viewport, content, button });
    viewport.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    viewport.addEventListener("wheel", (event) => this.#onWheel(event), { passive: true });
    button.addEventListener("click", () => this.pin());
    this.#observer.observe(content);
    this.#observer.observe(viewport);
  }

  /** Go to the end and stay there. */
  pin() {
    this.#wheeled = -MOVING_MS;
    this.#set(true);
    this.#follow();
  }

  /** The content has grown in this frame. While it does in each, nobody else has to look: that would be a second pass. */
  grown() {
    if (performance.now() - this.#looked > QUIET_MS / 2) {
      this.#looked = performance.now();
      clearTimeout(this.#watching);
      this.#observer.unobserve(this.content);
      this.#watching = setTimeout(() => this.#observer.observe(this.content), QUIET_MS);
    }
    this.#follow();
  }

  /** Stay where the reader is, whatever comes. */
  letGo() {
    this.#set(false);
  }

  get #distance() {
    return this.viewport.scrollHeight - this.viewport.clientHeight - this.viewport.scrollTop;
  }

  #follow() {
    if (!this.#pinned) return this.#set(this.#distance <= 1 && !this.#isMoving);
    this.viewport.scrollTop = this.viewport.scrollHeight;
    this.#bottom = this.viewport.scrollTop;
  }

  /** Our own scrolling and a browser's clamping end at the bottom; whatever else moves up is the reader. */
  #onScroll() {
    const top = this.viewport.scrollTop;
    if (this.#isMoving) {
      this.#set(false);
    } else if (this.#distance <= 1) {
      this.#bottom = top;
      this.#set(true);
    } else if (this.#pinned && top <= this.#bottom - LET_GO_PX) {
      this.#set(false);
    } else if (!this.#pinned && top > this.#before && this.#distance < CATCH_PX) {
      this.#set(true);
    }
    this.#before = top;
  }

  #onWheel({ deltaY }) {
    const up = deltaY < 0 && this.viewport.scrollTop > 0;
    this.#wheeled = up ? performance.now() : -MOVING_MS;
    if (up) this.#set(false);
  }

  get #isMoving() {
    return performance.now() - this.#wheeled < MOVING_MS;
  }

  #set(pinned) {
    this.#pinned = pinned;
    hide(this.button, pinned);
  }
}
