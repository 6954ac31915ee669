// Sends messages, one, a bulk or a burst, and looks up what was not notified.

import { now } from "./dom.js";
import { retryDelay } from "./intake.js";
import { mayHaveChanged } from "./messages.js";

/** A caller that retries well gives up after this long. */
const RETRY_LIMIT_MS = 30_000;
/** How many look-ups are under way at once: few, because they take time from what is measured. */
const MAX_LOOK_UPS = 2;
/** How long a message is left alone before it is looked up though its socket is open. */
const LOOK_UP_AFTER_MS = 60_000;

const PATHS = { sync: "/messages", queue: "/queue" };

/** The request that carries messages, which may be all of a bulk or what is left of it. */
export function requestOf(messages) {
  const [{ way, id, text, bulk }] = messages;
  if (bulk.length === 1) return { method: "PUT", path: `${PATHS[way]}/${encodeURIComponent(id)}`, body: text };
  const entries = messages.map(({ id, text }) => `{"id":${JSON.stringify(id)},"payload":${text}}`);
  return { method: "POST", path: PATHS[way], body: `{"messages":[${entries.join()}]}` };
}

/** What a look-up of a message is about: all messages of a receipt have one. */
const subjectOf = (message) => (message.receipt ? message.bulk : message);

export class Sender {
  #messages;
  #intakeOf;
  #waiting = { sync: [], queue: [] };
  /** The free connections of each design, each as the base URL to use. */
  #free;
  #lookUps = [];
  #lookingUp = new Set();

  /** `intakeOf` returns the client of an owner. */
  constructor(messages, config, intakeOf) {
    this.#messages = messages;
    this.#intakeOf = intakeOf;
    const free = (urls) => Array.from({ length: config.requestsAtOnce }, () => urls).flat();
    this.#free = { sync: free(config.httpUrls.sync), queue: free(config.httpUrls.queue) };
  }

  /**
   * Sends messages in one request. Returns them (`bulk`), and a promise of them for when there is a response that is
   * not followed by a retry (`responded`). `entries`: `id` and `text` of each.
   */
  send(way, owner, entries, { retry = false, dueAt } = {}) {
    const bulk = this.#messages.offer(way, owner, entries, dueAt);
    return { bulk, responded: new Promise((resolve) => this.#enqueue({ messages: bulk, retry, resolve })) };
  }

  /** Looks up messages, a few at a time. Those that were settled meanwhile are left out. */
  lookUpAll(messages) {
    for (const message of messages) {
      const subject = subjectOf(message);
      if (!this.#lookingUp.has(subject)) {
        this.#lookingUp.add(subject);
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
    return this.#intakeOf(owner).attempt("GET", path);
  }

  async #nextLookUp() {
    const message = this.#lookUps.shift();
    if (!message) return;
    if (mayHaveChanged(message) || message.bulk.some(mayHaveChanged)) await this.lookUp(message);
    this.#lookingUp.delete(subjectOf(message));
    this.#nextLookUp();
  }

  /** Browsers send only so many requests at once to a host; those beyond wait here, where they can be counted. */
  #enqueue(job) {
    const { way } = job.messages[0];
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
    const { messages, retry, resolve } = job;
    const [{ owner, bulk, attempts, dueAt }] = messages;
    const attempt = this.#messages.begin(messages);
    const { method, path, body } = requestOf(messages);
    // One attempt: the page shows what a caller sees that does not retry.
    const response = await this.#intakeOf(owner).attempt(method, path, body, { url });
    const mayRetry = retry && now() - dueAt <= RETRY_LIMIT_MS;
    const pause = mayRetry ? retryDelay(response, attempts.length - 1) : null;
    const again = this.#messages.respond(messages, attempt, response, mayRetry ? now() + pause : null);
    if (again.length === 0) resolve(bulk);
    else setTimeout(() => this.#enqueue({ ...job, messages: again }), pause);
    // A response says that a message is stored. The item says when, which notifications do for the other design.
    this.lookUpAll(messages.filter(({ way, status }) => way === "sync" && status === "stored"));
  }
}

/** A payload of about this many bytes. */
function payloadOf(bytes, number) {
  const text = JSON.stringify({ number, sentAt: new Date().toISOString() });
  const filler = bytes - text.length - ',"text":""'.length;
  return filler > 0 ? `${text.slice(0, -1)},"text":"${"x".repeat(filler)}"}` : text;
}

/** Sends messages at a steady rate, whether responses come or not. */
export class Burst {
  #timer;
  /** Those that were due by now, and how many of them have a response. */
  messages = [];
  responded = 0;

  /** `plan`: `ways`, `number` and `rate` of each way, how many in one request (`bulk`), `bytes`, `owners`, `retry`. */
  constructor(plan, sender) {
    this.plan = plan;
    this.total = plan.number * plan.ways.length;
    this.startedAt = now();
    const name = `burst-${this.startedAt.toString(36).slice(-5)}`;
    const dueAt = (number) => this.startedAt + Math.floor((number * 1000) / plan.rate);
    let sent = 0;
    this.#timer = setInterval(() => {
      while (sent < plan.number && dueAt(sent) <= now()) {
        const numbers = Array.from({ length: Math.min(plan.bulk, plan.number - sent) }, (_, at) => sent + at + 1);
        const texts = numbers.map((number) => payloadOf(plan.bytes, number));
        const owner = plan.owners[(sent / plan.bulk) % plan.owners.length];
        for (const way of plan.ways) {
          const entries = numbers.map((number, at) => ({ id: `${name}-${way}-${number}`, text: texts[at] }));
          this.#send(sender, way, owner, entries, dueAt(sent));
        }
        sent += numbers.length;
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

  async #send(sender, way, owner, entries, dueAt) {
    const { bulk, responded } = sender.send(way, owner, entries, { retry: this.plan.retry, dueAt });
    this.messages.push(...bulk);
    await responded;
    this.responded += bulk.length;
  }
}
