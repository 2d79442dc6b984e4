/** Images of origins that the site trusts. Loaded when an answer links to an image. */

import { h } from "./dom.js";

/**
 * Show the images that are linked in an element that will not change any more, as far as `image-origins` of the chat
 * around it names where they are.
 * @param {HTMLElement} node
 */
export function showPictures(node) {
  const chat = /** @type {ShadowRoot} */ (node.getRootNode()).host;
  const origins = chat?.getAttribute("image-origins")?.split(" ") ?? [];
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (node.querySelectorAll("a.llm-image"))) {
    if (!origins.includes(link.origin)) continue;
    const attributes = { class: "llm-picture", part: "picture", src: link.href, alt: link.textContent };
    const title = link.title || null;
    link.replaceWith(h("img", { ...attributes, title, loading: "lazy", referrerpolicy: "no-referrer" }));
  }
}
