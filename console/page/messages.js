// What this page has sent, with the known outcomes: every message, the counts, and a column of numbers a second.

import { now } from "./dom.js";
import { isTemporary } from "./intake.js";

export const WAYS = ["sync", "queue"];
export const WAY_NAMES = { sync: "synchronous", queue: "queue" };

/**
 * The statuses of a message on this page. Beyond the API's own (`queued`, `stored`, `rejected`, `conflict`, `failed`):
 * `waiting` for a free connection or for a retry, `sent`, and `not accepted` (any other response, or none).
 */
export const STATUSES = ["waiting", "sent", "queued", "stored", "rejected", "conflict", "failed", "not accepted"];
/** Those that something is still to follow on. */
const OPEN = new Set(["waiting", "sent", "queued"]);

export const isOpen = ({ status }) => OPEN.has(status);

/** Whether a look-up may find more: an outcome, that of a redriven dead letter, or when a message was stored. */
export const mayHaveChanged = ({ status, storedAt }) =>
  status === "queued" || status === "failed" || (status === "stored" && storedAt === null);

/** Columns that the charts show; others are dropped. */
export const SHOWN_SECONDS = 120;

const newCounts = () => ({
  offered: 0,
  accepted: 0,
  inDoubt: 0,
  notified: 0,
  inTable: 0,
  ...Object.fromEntries(STATUSES.map((status) => [status, 0])),
});

function newColumn(second) {
  const way = () => ({
    offered: 0,
    accepted: 0,
    notAccepted: 0,
    inDoubt: 0,
    stored: 0,
    responseMs: [],
    storedMs: [],
    open: null,
  });
  return { second, capacity: null, sync: way(), queue: way() };
}

/** The value below which this share of the values is; null if there are none. */
export function percentile(values, share) {
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(Math.ceil(share * sorted.length), sorted.length) - 1];
}

/** What a response says of the message at an index of its request. */
function statusBy({ status }, body, index) {
  if (body?.receipt) return "queued";
  if (status === 409) return "conflict";
  if (status < 200 || status >= 300) return "not accepted";
  const found = (body?.outcomes?.[index] ?? body)?.status ?? "stored";
  return found === "unavailable" ? "not accepted" : found;
}

export class Messages {
  /** Newest last. */
  all = [];
  counts = { sync: newCounts(), queue: newCounts() };
  /** What happened to the stack, oldest first: `at` and `text`. */
  marks = [];
  /** The write units a second of each design; null without a limit. */
  capacity = null;
  /** Bumped by every change. */
  version = 0;
  #clockToleranceMs;
  #number = 0;
  #open = { sync: new Set(), queue: new Set() };
  #inTable = new Set();
  /** The messages of a request. */
  #byReceipt = new Map();
  /** Notifications that arrived before the response with their receipt. */
  #early = new Map();
  #columns = new Map();

  /** `clockToleranceMs`: by how much the clock of the stack may differ from ours. */
  constructor(clockToleranceMs) {
    this.#clockToleranceMs = clockToleranceMs;
  }

  /** Records that messages (`id` and `text`) are due, in one request. Returns the messages. */
  offer(way, owner, entries, dueAt = now()) {
    const [bulk, attempts, lookUps] = [[], [], []];
    for (const { id, text } of entries) {
      const message = {
        number: ++this.#number,
        way,
        owner,
        id,
        text,
        status: null,
        dueAt,
        // Of the request, which it may share with others; and of the look-ups of its receipt.
        bulk,
        attempts,
        lookUps: way === "queue" ? lookUps : [],
        events: [],
        receipt: null,
        statusPath: null,
        outcome: null,
        respondedAt: null,
        storedAt: null,
        // Where it is on the time axis once it is stored.
        shownAt: null,
        notifiedAt: null,
      };
      bulk.push(message);
      this.all.push(message);
      this.counts[way].offered += 1;
      this.#column(dueAt)[way].offered += 1;
      this.#become(message, "waiting");
    }
    return bulk;
  }

  /** Records that a request for messages begins. */
  begin(messages) {
    const attempt = { sentAt: now() };
    messages[0].attempts.push(attempt);
    for (const message of messages) this.#become(message, "sent");
    return attempt;
  }

  /**
   * Records a response, or that there is none. `retryAt` says when the request will be repeated if that may help.
   * Returns the messages to send again.
   */
  respond(messages, attempt, response, retryAt = null) {
    const body = response.json;
    const { way, dueAt, bulk } = messages[0];
    const at = now();
    Object.assign(attempt, { respondedAt: at, response, retryAt: null });
    const column = this.#column(at)[way];
    const again = [];
    messages.forEach((message, index) => {
      const status = statusBy(response, body, index);
      const accepted = status === "queued" || status === "stored";
      const mayHelp = status === "not accepted" && (response.status < 300 || isTemporary(response));
      const inDoubt = mayHelp && response.status !== 429;
      column[accepted ? "accepted" : inDoubt ? "inDoubt" : "notAccepted"] += 1;
      if (mayHelp && retryAt !== null) {
        attempt.retryAt = retryAt;
        again.push(message);
        return this.#become(message, "waiting");
      }
      message.respondedAt = at;
      // From when it was due: a caller that waits for a free connection waits, too.
      column.responseMs.push(at - dueAt);
      this.counts[way].inDoubt += inDoubt;
      this.counts[way].accepted += accepted;
      if (way === "sync" && accepted) message.statusPath = `/messages/${encodeURIComponent(message.id)}`;
      if (status === "queued") Object.assign(message, { receipt: body.receipt, statusPath: body.statusPath });
      if (status === "stored") this.#settle(message, status, { storedAt: null });
      else this.#become(message, status);
      if (status === "conflict" || status === "rejected") message.outcome = body?.outcomes?.[index] ?? body;
    });
    if (body?.receipt) {
      this.#byReceipt.set(body.receipt, bulk);
      const early = this.#early.get(body.receipt) ?? [];
      this.#early.delete(body.receipt);
      for (const { event, at } of early) this.notify(event, at);
    }
    return again;
  }

  /** Records a notification. It belongs to the request with its receipt, whatever other message has the same id. */
  notify(event, at = now()) {
    const receipt = event.data?.receipt;
    const bulk = this.#byReceipt.get(receipt);
    if (!bulk) {
      // Of a response that is still to come, or of another client of the same owner.
      this.#early.set(receipt, [...(this.#early.get(receipt) ?? []), { event, at }]);
      if (this.#early.size > 10_000) this.#early.delete(this.#early.keys().next().value);
      return;
    }
    const message = bulk.length === 1 ? bulk[0] : bulk.find(({ id }) => id === event.subject);
    if (!message || message.events.some(({ event: { id } }) => id === event.id)) return;
    message.events.push({ at, event });
    message.notifiedAt ??= at;
    if (message.events.length === 1) this.counts.queue.notified += 1;
    this.#settle(message, event.type.split(".").at(-1), event.data);
  }

  /** Records the response to a look-up of a message, or of the receipt of its bulk. */
  lookUp(message, response) {
    const body = response.json;
    message.lookUps.push({ at: now(), response });
    this.version += 1;
    if (response.status !== 200 || !body?.status || body.status === "queued") return;
    if (!body.outcomes) return this.#settle(message, body.status, body);
    // Of a body that is no bulk there is one outcome, for all.
    const of = body.outcomes.length === message.bulk.length ? (at) => body.outcomes[at] : () => body.outcomes[0];
    message.bulk.forEach((one, at) => this.#settle(one, of(at).status, of(at)));
  }

  /** The messages of an owner of which a look-up may find more, oldest first. */
  toLookUp(owner) {
    return this.all.filter((message) => message.owner === owner && mayHaveChanged(message));
  }

  /** Notes what is open now; call it once a second. */
  sample() {
    const column = this.#column(now());
    column.capacity = this.capacity;
    for (const way of WAYS) column[way].open = this.#open[way].size;
  }

  /** Notes something that happened to the stack. */
  mark(text) {
    this.marks.push({ at: now(), text });
  }

  /** The columns to show, up to the last complete second. */
  columns() {
    const last = Math.floor(now() / 1000) - 1;
    return Array.from({ length: SHOWN_SECONDS }, (_, index) => {
      const second = last - SHOWN_SECONDS + 1 + index;
      return this.#columns.get(second) ?? newColumn(second);
    });
  }

  #settle(message, status, data) {
    message.outcome = data;
    const { way, owner, id, dueAt } = message;
    if (status === "stored") {
      const key = `${owner}\n${id}`;
      if (!this.#inTable.has(key)) {
        this.#inTable.add(key);
        this.counts[way].inTable += 1;
      }
      const storedAt = data.storedAt ? Date.parse(data.storedAt) : null;
      // The same payload may have been stored before, by another request.
      const isOwn = storedAt !== null && storedAt >= dueAt - this.#clockToleranceMs;
      this.#show(message, isOwn ? storedAt : (message.shownAt ?? now()));
      if (isOwn && message.storedAt === null) this.#column(storedAt)[way].storedMs.push(storedAt - dueAt);
      message.storedAt ??= storedAt;
    }
    this.#become(message, status);
  }

  /** Puts a stored message on the time axis: when it was stored, or until that is known, when that became known. */
  #show(message, at) {
    if (message.shownAt !== null) this.#column(message.shownAt)[message.way].stored -= 1;
    this.#column(at)[message.way].stored += 1;
    message.shownAt = at;
  }

  #become(message, status) {
    const { way } = message;
    if (message.status) this.counts[way][message.status] -= 1;
    this.counts[way][status] += 1;
    message.status = status;
    if (isOpen(message)) this.#open[way].add(message);
    else this.#open[way].delete(message);
    this.version += 1;
  }

  #column(time) {
    const second = Math.floor(time / 1000);
    let column = this.#columns.get(second);
    if (!column) {
      column = newColumn(second);
      this.#columns.set(second, column);
      for (const old of this.#columns.keys()) {
        if (old >= second - SHOWN_SECONDS) break;
        this.#columns.delete(old);
      }
    }
    return column;
  }
}
