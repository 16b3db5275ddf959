// A request as code: the same as curl and as Python.

import { address, BASE } from "./api.js";
import { key } from "./key.js";

/** @typedef {import("./api.js").Ask} Ask */

/**
 * @param {Ask} ask
 * @returns {string}
 */
export function curl(ask) {
  const parts = [`curl -sS${ask.json?.stream ? "N" : ""} ${quoted(address(ask).href)}`];
  if (key()) parts.push(`-H "authorization: Bearer $AMOSTRA_KEY"`);
  if (ask.json) parts.push(`--json ${quoted(spaced(ask.json))}`);
  if (ask.body) parts.push(`-H ${quoted(`content-type: ${ask.body.type}`)}`, `--data-binary @${ask.body.file}`);
  for (const [name, value] of Object.entries(ask.fields ?? {})) parts.push(`-F ${quoted(`${name}=${value}`)}`);
  for (const { field, file } of ask.files ?? []) parts.push(`-F ${field}=@${file}`);
  if (ask.accept) parts.push(`-H ${quoted(`accept: ${ask.accept}`)}`);
  if (ask.save) parts.push(`-o ${ask.save}`);
  return parts.join(" \\\n  ");
}

/**
 * @param {Ask} ask
 * @returns {string}
 */
export function python(ask) {
  const url = new URL(ask.path, BASE).href;
  const parts = [literal(url)];
  if (ask.query) parts.push(`params=${literal(ask.query)}`);
  if (ask.json) parts.push(`json=${literal(ask.json)}`);
  if (ask.fields) parts.push(`data=${literal(ask.fields)}`);
  if (ask.files) parts.push(`files=[${ask.files.map(({ field, file }) => `(${literal(field)}, open(${literal(file)}, "rb"))`).join(", ")}]`);
  if (ask.body) parts.push(`content=open(${literal(ask.body.file)}, "rb").read()`);
  const headers = headersOf(ask);
  if (headers.length) parts.push(`headers={${headers.join(", ")}}`);
  parts.push("timeout=120");
  const imports = `import httpx${key() ? "\nimport os" : ""}\n\n`;
  if (ask.json?.stream) {
    const call = `httpx.stream("POST", ${parts.join(", ")})`;
    return `${imports}with ${call} as answer:\n    for line in answer.iter_lines():\n        print(line)`;
  }
  const end = ask.save ? `open(${literal(ask.save)}, "wb").write(answer.content)` : "print(answer.json())";
  return `${imports}answer = httpx.post(\n    ${parts.join(",\n    ")},\n)\nanswer.raise_for_status()\n${end}`;
}

function headersOf(ask) {
  const headers = [];
  if (key()) headers.push(`"authorization": "Bearer " + os.environ["AMOSTRA_KEY"]`);
  if (ask.body) headers.push(`"content-type": ${literal(ask.body.type)}`);
  if (ask.accept) headers.push(`"accept": ${literal(ask.accept)}`);
  return headers;
}

const quoted = (/** @type {string} */ text) => (/^[\w:/.?=&%-]+$/.test(text) && !/[?&]/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** JSON on one line, as people write it. */
const spaced = (/** @type {any} */ value) => written(value, "null", "true", "false");

/** The same in Python. */
const literal = (/** @type {any} */ value) => written(value, "None", "True", "False");

function written(value, none, yes, no) {
  if (value === null || value === undefined) return none;
  if (value === true) return yes;
  if (value === false) return no;
  if (Array.isArray(value)) return `[${value.map((item) => written(item, none, yes, no)).join(", ")}]`;
  if (typeof value === "object") {
    const items = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${written(item, none, yes, no)}`);
    return `{${items.join(", ")}}`;
  }
  return JSON.stringify(value);
}
