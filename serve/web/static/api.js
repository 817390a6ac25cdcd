// HTTP client of the service: URLs, API key, error messages.

const KEY_NAME = "pelee-key";

export class ServerError extends Error {
  constructor(message, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds; 0: not given by the server
  }
}

export const setKey = (value) => sessionStorage.setItem(KEY_NAME, value.trim());

const key = () => sessionStorage.getItem(KEY_NAME);

/** Response to a request with the key; throws a `ServerError` where it is an error. */
export async function request(path, options = {}) {
  const headers = key() ? { "X-API-Key": key() } : {};
  // A header holds no other characters, and the browser would say that the server does not answer.
  if (/[^\x21-\x7e]/.test(key() ?? "")) throw new ServerError("an unknown key", { status: 401, code: "unauthorized" });
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error; // a timeout is none
    throw new ServerError("The server does not answer. Is it running?", { code: "unreachable" });
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new ServerError(body.message ?? `The server answered with status ${response.status}.`, {
    status: response.status,
    code: body.code,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

export const hasKey = () => Boolean(key());

/** The address of an image, video, stream or download: a browser sends no header of ours there, so the key goes in the query. */
export function withKey(path) {
  const address = new URL(path, document.baseURI);
  if (key()) address.searchParams.set("key", key());
  return address.href;
}

/** The server's models, and the names of the default ones: {models, default}. */
export const models = async (options = {}) => (await request("models", options)).json();

/** An image's result, with `roundTrip` in ms and, where the server tells them, its `stages` in ms. No model: the default. */
export async function detect(blob, name, { model, conf, tiles, signal }) {
  const body = new FormData();
  body.append("file", blob, name);
  const query = new URLSearchParams({ ...(model && { model }), conf: conf.toFixed(2), ...(tiles !== "off" && { tiles }) });
  const started = performance.now();
  const response = await request(`detect?${query}`, { method: "POST", body, signal });
  const result = await response.json();
  return { result, roundTrip: performance.now() - started, stages: serverTiming(response) };
}

/** The address of the socket for frames. */
export function socketAddress() {
  const address = new URL(withKey("ws"));
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address;
}

function serverTiming(response) {
  const stages = {};
  for (const part of (response.headers.get("Server-Timing") ?? "").split(",")) {
    const found = /^\s*([\w-]+)\s*;.*dur=([\d.]+)/.exec(part);
    if (found) stages[found[1]] = Number(found[2]);
  }
  return Object.keys(stages).length ? stages : null;
}
