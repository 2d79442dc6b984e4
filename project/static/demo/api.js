/** Calls to the server: JSON in, JSON out, errors as ApiError with the server's envelope. */

const CSRF = document.querySelector("[name=csrfmiddlewaretoken]")?.value ?? "";

export class ApiError extends Error {
  /** `status` is 0 when no answer came; `body` is the parsed response or an empty object. */
  constructor(status, body) {
    super(body.error?.message ?? (status ? `The server answered ${status}.` : "The server cannot be reached."));
    this.status = status;
    this.code = body.error?.code ?? "";
    this.body = body;
  }
}

/** Resolve to the parsed body, or null for 204. */
export async function call(method, url, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = CSRF;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  // What is short goes out even when the page is left at once; browsers allow 64 KiB for all of that together.
  const keepalive = method !== "GET" && (text?.length ?? 0) <= 8_000;
  let response;
  try {
    response = await fetch(url, { method, headers, body: text, keepalive });
  } catch {
    throw new ApiError(0, {});
  }
  if (response.status === 204) return null;
  const parsed = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, parsed);
  return parsed;
}

/** Like `call`, once more when no answer came. Only for calls that may be repeated. */
export async function callTwice(method, url, body) {
  try {
    return await call(method, url, body);
  } catch (error) {
    if (error.status !== 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, 500));
    return call(method, url, body);
  }
}

/** A random id; `crypto.randomUUID` exists on https and localhost only. */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
