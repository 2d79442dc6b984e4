/** Files on their way to a conversation; with the id of what comes back a prompt sends them. */

import { cookieToken } from "./http.js";
import { LLMStreamError, connectionLost } from "./wire.js";

/**
 * @typedef {{type: "file", id: string, name: string, content_type: string, size: number, url: string}} FilePart
 */

/**
 * Upload a file. Rejects with an `LLMStreamError`, or an `AbortError`.
 * @param {string} conversation its id @param {File} file
 * @param {{api?: string, csrfToken?: string, signal?: AbortSignal, onProgress?: (share: number) => void}} [options]
 *   `api` and `csrfToken` as those of the client; `onProgress` is told what share of the file has gone, from 0 to 1
 * @returns {Promise<FilePart>}
 */
export function upload(conversation, file, { signal, onProgress, ...site } = {}) {
  const form = new FormData();
  form.append("file", file);
  return new Promise((resolve, reject) => {
    // fetch tells no progress.
    const request = open("POST", `conversations/${encodeURIComponent(conversation)}/attachments/`, site);
    request.upload.onprogress = ({ loaded, total }) => onProgress?.(loaded / total);
    request.onload = () => {
      const { status, response: body } = request;
      if (status === 201 && body) resolve(body);
      else reject(body?.error ? new LLMStreamError(body.error, body) : refused(status));
    };
    request.onerror = () => reject(connectionLost());
    request.onabort = () => reject(new DOMException("The upload was given up.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Remove a file that was uploaded and not sent. What cannot be removed now the server removes later. @param {string} id */
export function removeUpload(id, site = {}) {
  open("DELETE", `attachments/${encodeURIComponent(id)}/`, site).send();
}

function open(method, path, { api = "/llmstream/", csrfToken }) {
  const request = new XMLHttpRequest();
  request.open(method, new URL(path, new URL(api, location.href)));
  request.responseType = "json";
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", csrfToken || cookieToken());
  return request;
}

/** A proxy's words are no error of ours; that a file is too large it says by the status alone. */
function refused(status) {
  if (status !== 413) return connectionLost();
  return new LLMStreamError({ code: "too_large", status, message: "The file is too large." });
}
