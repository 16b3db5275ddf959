// Requests to the service. An Ask is said once; it is what is sent, and what code.js shows.

import { events } from "./events.js";
import { key } from "./key.js";
import { fromAnswer, unreachable } from "./problem.js";

/**
 * @typedef {object} Attached a file of a request
 * @property {string} file its name
 * @property {Blob} blob
 *
 * @typedef {object} Ask a request
 * @property {string} path such as "v1/score"
 * @property {Record<string, any>} [query]
 * @property {any} [json] the body, as one of three: JSON,
 * @property {(Attached & {type: string})} [body] a file,
 * @property {(Attached & {field: string})[]} [files] or a form with files and fields
 * @property {Record<string, any>} [fields]
 * @property {string} [accept]
 * @property {string} [save] the name of the file that keeps the answer, for code
 */

/** Where the service is: this page's folder lies in it. */
export const BASE = new URL("../", import.meta.url);

/**
 * @param {Ask} ask
 * @returns {URL}
 */
export function address(ask) {
  const url = new URL(ask.path, BASE);
  for (const [name, value] of Object.entries(ask.query ?? {})) url.searchParams.set(name, String(value));
  return url;
}

/**
 * Send, and give back an answer that is well.
 * @param {Ask} ask
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 * @throws {import("./problem.js").Problem}
 */
export async function send(ask, signal) {
  const headers = new Headers();
  if (key()) headers.set("authorization", `Bearer ${key()}`);
  if (ask.accept) headers.set("accept", ask.accept);
  if (ask.json) headers.set("content-type", "application/json");
  if (ask.body) headers.set("content-type", ask.body.type);
  const body = ask.json ? JSON.stringify(ask.json) : ask.body ? ask.body.blob : ask.files ? form(ask) : undefined;
  const answer = await reached(fetch(address(ask), { method: body === undefined ? "GET" : "POST", headers, body, signal }));
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  throw fromAnswer(answer.status, told, answer.headers.get("retry-after"));
}

/** Send, and read JSON. */
export const sendForJson = async (/** @type {Ask} */ ask, /** @type {AbortSignal} */ signal) =>
  reached((await send(ask, signal)).json());

/** Send, and read bytes. */
export const sendForBytes = async (/** @type {Ask} */ ask, /** @type {AbortSignal} */ signal) =>
  reached((await send(ask, signal)).arrayBuffer());

/**
 * Send, and read server-sent events as they come.
 * @param {Ask} ask
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<any>} the JSON of each
 */
export async function* stream(ask, signal) {
  const answer = await send(ask, signal);
  const read = events(answer.body);
  for (;;) {
    const { done, value } = await reached(read.next());
    if (done) return;
    if (value.error) throw fromAnswer(value.status ?? 500, value);
    yield value;
  }
}

/** Wait for the network; what it throws is told in plain words, but for a stop that was wanted. */
async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    throw error?.name === "AbortError" ? error : unreachable();
  }
}

function form(ask) {
  const body = new FormData();
  for (const [name, value] of Object.entries(ask.fields ?? {})) body.append(name, String(value));
  for (const { field, blob, file } of ask.files) body.append(field, blob, file);
  return body;
}
