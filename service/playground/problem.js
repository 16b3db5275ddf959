// What went wrong, in plain words, and what can be done.

/** An error that is shown to people. */
export class Problem extends Error {
  /**
   * @param {string} title
   * @param {string} detail
   * @param {{status?: number, retryAfter?: number, request?: string}} [more] retryAfter in seconds
   */
  constructor(title, detail, { status = 0, retryAfter = 0, request = "" } = {}) {
    super(`${title}: ${detail}`);
    this.title = title;
    this.detail = detail;
    this.status = status;
    this.retryAfter = retryAfter;
    this.request = request;
  }
}

const TITLES = {
  400: "The service cannot read this",
  401: "This service asks for a key",
  404: "That is not there",
  413: "That is too much at once",
  415: "The service does not know this kind of file",
  422: "The service cannot do this",
  429: "The service is busy",
  500: "The service failed",
  502: "The service is not there",
  503: "The service is not ready",
  504: "It took too long",
};

const REMEDIES = {
  401: "Enter yours with the button Key, at the top.",
  502: "It may be restarting. Try again in a moment.",
  503: "It may still be loading its models. Try again in a moment.",
};

/**
 * The problem that an answer tells of.
 * @param {number} status
 * @param {any} body problem details, or null where the answer was something else
 * @param {string | null} [retryAfter] the header
 */
export function fromAnswer(status, body, retryAfter = null) {
  const title = TITLES[status] ?? (status >= 500 ? TITLES[500] : TITLES[422]);
  const said = typeof body?.detail === "string" ? sentence(body.detail) : "";
  const detail = [said, REMEDIES[status] ?? (said ? "" : `It answered with status ${status}.`)].filter(Boolean).join(" ");
  const request = (body?.instance ?? "").replace("urn:amostra:request:", "");
  return new Problem(title, detail, { status, retryAfter: Number(retryAfter) || 0, request: status >= 500 ? request : "" });
}

/** The problem of an answer that never came, or broke off. */
export const unreachable = () =>
  new Problem("The service does not answer", "It may be stopped or restarting, or the network is down. Try again in a moment.");

/** The problem behind anything that was thrown; a bug of this page too. */
export function asProblem(/** @type {any} */ error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem("This page made a mistake", `${error?.message ?? error}`);
}

const sentence = (/** @type {string} */ text) => `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
