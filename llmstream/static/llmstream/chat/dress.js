/** Stylesheets of what is loaded when it is needed. */

import { h } from "./dom.js";

/** Load a stylesheet of this folder into the chat or page that a node is in, once. @param {Node} node @param {string} file */
export function dress(node, file) {
  if (!node.isConnected) return;
  const found = /** @type {any} */ (node.getRootNode());
  const root = found.head ?? found;
  if (root.querySelector(`link[data-for="${file}"]`)) return;
  const known = /** @type {HTMLLinkElement | null} */ (document.querySelector("link[data-llmstream]"));
  const link = /** @type {HTMLLinkElement} */ (h("link", { rel: "stylesheet", "data-for": file }));
  link.href = new URL(`./${file}`, import.meta.url).href;
  if (known?.nonce) link.nonce = known.nonce;
  root.prepend(link);
}
