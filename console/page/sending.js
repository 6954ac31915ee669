// Sends messages, one or a burst, and looks up what was not notified.

import { now } from "./dom.js";
import { isTemporary, retryDelay } from "./intake.js";
import { mayHaveChanged } from "./messages.js";

/** A caller that retries well gives up after this long. */
const RETRY_LIMIT_MS = 30_000;
/** How many look-ups are under way at once. */
const MAX_LOOK_UPS = 4;
/** How long a message is left alone before it is looked up though its socket is open. */
const LOOK_UP_AFTER_MS = 60_000;

const PATHS = { sync: "messages", queue: "queue" };

export const pathOf = ({ way, id }) => `/${PATHS[way]}/${encodeURIComponent(id)}`;

export class Sender {
  #messages;
  #intakeOf;
  #waiting = { sync: [], queue: [] };
  /** The free connections of each design, each as the base URL to use. */
  #free;
  #lookUps = [];
  #lookingUp = new Set();

  /** `intakeOf` returns the client of an owner; `onResponse` learns each response to one. */
  constructor(messages, config, intakeOf, onResponse) {
    this.onResponse = onResponse;
    this.#messages = messages;
    this.#intakeOf = intakeOf;
    const free = (urls) => Array.from({ length: config.requestsAtOnce }, () => urls).flat();
    this.#free = { sync: free(config.httpUrls.sync), queue: free(config.httpUrls.queue) };
  }

  /** Sends a message, and resolves to it once there is a response that is not followed by a retry. */
  send(way, owner, id, text, retry = false) {
    const message = this.#messages.offer(way, owner, id, text);
    return new Promise((resolve) => this.#enqueue({ message, retry, resolve }));
  }

  /** Looks up messages, a few at a time. Those that were settled meanwhile are left out. */
  lookUpAll(messages) {
    for (const message of messages) {
      if (!this.#lookingUp.has(message)) {
        this.#lookingUp.add(message);
        this.#lookUps.push(message);
      }
    }
    for (let free = MAX_LOOK_UPS - (this.#lookingUp.size - this.#lookUps.length); free > 0; free -= 1)
      this.#nextLookUp();
  }

  /** Looks up messages whose notification may be missing, each less and less often. */
  lookUpOverdue(owner) {
    const isOverdue = ({ respondedAt, lookUps }) => {
      const since = lookUps.length ? lookUps.at(-1).at : respondedAt;
      return now() - since > LOOK_UP_AFTER_MS * 2 ** Math.min(lookUps.length, 4);
    };
    this.lookUpAll(this.#messages.toLookUp(owner).filter(isOverdue).slice(0, 50));
  }

  async lookUp(message) {
    const response = await this.get(message.owner, message.statusPath);
    this.#messages.lookUp(message, response);
    return response;
  }

  get(owner, path) {
    return this.#request(owner, "GET", path);
  }

  /** One attempt: the page shows what a caller sees that does not retry. */
  async #request(owner, method, path, body, url) {
    const response = await this.#intakeOf(owner).attempt(method, path, body, { url });
    this.onResponse(owner, response);
    return response;
  }

  async #nextLookUp() {
    const message = this.#lookUps.shift();
    if (!message) return;
    if (mayHaveChanged(message)) await this.lookUp(message);
    this.#lookingUp.delete(message);
    this.#nextLookUp();
  }

  /** Browsers send only so many requests at once to a host; those beyond wait here, where they can be counted. */
  #enqueue(job) {
    const { way } = job.message;
    this.#waiting[way].push(job);
    this.#fill(way);
  }

  async #fill(way) {
    if (this.#free[way].length === 0 || this.#waiting[way].length === 0) return;
    const url = this.#free[way].shift();
    await this.#attempt(this.#waiting[way].shift(), url);
    this.#free[way].push(url);
    this.#fill(way);
  }

  async #attempt(job, url) {
    const { message, retry, resolve } = job;
    const attempt = this.#messages.begin(message);
    const response = await this.#request(message.owner, "PUT", pathOf(message), message.text, url);
    const pause = retry ? this.#pause(message, response) : null;
    this.#messages.respond(message, attempt, response, pause === null ? null : now() + pause);
    if (pause === null) resolve(message);
    else setTimeout(() => this.#enqueue(job), pause);
  }

  /** How long to wait before the request is repeated; null if it is not. */
  #pause(message, response) {
    if (!isTemporary(response) || now() - message.offeredAt > RETRY_LIMIT_MS) return null;
    return retryDelay(response, message.attempts.length - 1);
  }
}

/** A payload of about this many bytes. */
export function payloadOf(bytes, number) {
  const text = JSON.stringify({ number, sentAt: new Date().toISOString() });
  const filler = bytes - text.length - ',"text":""'.length;
  return filler > 0 ? `${text.slice(0, -1)},"text":"${"x".repeat(filler)}"}` : text;
}

/** Sends messages at a steady rate, whether responses come or not. */
export class Burst {
  #timer;
  offered = 0;
  responded = 0;

  /** `plan`: `ways`, `number` and `rate` of each way, `bytes`, `owners`, `retry`. */
  constructor(plan, sender) {
    this.plan = plan;
    this.total = plan.number * plan.ways.length;
    const start = now();
    const name = `burst-${Math.floor(start).toString(36).slice(-5)}`;
    let sent = 0;
    this.#timer = setInterval(() => {
      const due = Math.min(Math.floor(((now() - start) / 1000) * plan.rate) + 1, plan.number);
      for (; sent < due; sent += 1) {
        const text = payloadOf(plan.bytes, sent + 1);
        const owner = plan.owners[sent % plan.owners.length];
        for (const way of plan.ways) this.#send(sender, way, owner, `${name}-${way}-${sent + 1}`, text);
      }
      if (sent === plan.number) this.stop();
    }, 20);
  }

  get sending() {
    return this.#timer !== null;
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #send(sender, way, owner, id, text) {
    this.offered += 1;
    sender.send(way, owner, id, text, this.plan.retry).then(() => (this.responded += 1));
  }
}
