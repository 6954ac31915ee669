// What this page has sent, with the known outcomes: every message, the counts, and a column of numbers a second.

import { now } from "./dom.js";

export const WAYS = ["sync", "queue"];
export const WAY_NAMES = { sync: "synchronous", queue: "queue" };

/**
 * The statuses of a message on this page. Beyond the API's own (`queued`, `stored`, `rejected`, `conflict`, `failed`):
 * `waiting` for a free connection or for a retry, `sent`, `error` (any other response without success), and `unknown`
 * (no response).
 */
export const STATUSES = [
  "waiting",
  "sent",
  "queued",
  "stored",
  "rejected",
  "conflict",
  "failed",
  "error",
  "unknown",
];
/** Those that something is still to follow on. */
const OPEN = new Set(["waiting", "sent", "queued"]);

/** Whether a look-up may find another status: an outcome, or the outcome of a redriven dead letter. */
export const mayHaveChanged = ({ status }) => status === "queued" || status === "failed";

/** Columns that the charts show, and that are kept for the download. */
const SHOWN_SECONDS = 120;
const KEPT_SECONDS = 3600;
/** More messages would only fill memory; the counts include those that left. */
const MAX_MESSAGES = 50_000;

const newCounts = () => ({
  requests: 0,
  offered: 0,
  accepted: 0,
  notified: 0,
  ...Object.fromEntries(STATUSES.map((status) => [status, 0])),
});

function newColumn(second) {
  const way = () => ({
    offered: 0,
    accepted: 0,
    stored: 0,
    responses: {},
    responseMs: [],
    storedMs: [],
    open: null,
    oldestMs: null,
  });
  return { second, sync: way(), queue: way() };
}

/** The value below which this share of the values is; null if there are none. */
export function percentile(values, share) {
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(Math.ceil(share * sorted.length), sorted.length) - 1];
}

export class Messages {
  /** Newest last. */
  all = [];
  counts = { sync: newCounts(), queue: newCounts() };
  /** Bumped by every change. */
  version = 0;
  #number = 0;
  #open = { sync: new Set(), queue: new Set() };
  #byReceipt = new Map();
  /** Notifications that arrived before the response with their receipt. */
  #early = new Map();
  #columns = new Map();

  /** Records that a message is to be sent now. */
  offer(way, owner, id, text) {
    const message = {
      number: ++this.#number,
      way,
      owner,
      id,
      text,
      status: null,
      offeredAt: now(),
      attempts: [],
      lookUps: [],
      events: [],
      receipt: null,
      statusPath: null,
      outcome: null,
      respondedAt: null,
      storedAt: null,
      notifiedAt: null,
    };
    this.all.push(message);
    if (this.all.length > MAX_MESSAGES) {
      const place = this.all.findIndex(({ status }) => !OPEN.has(status));
      const [left] = this.all.splice(Math.max(place, 0), 1);
      this.#byReceipt.delete(left.receipt);
    }
    this.counts[way].offered += 1;
    this.#column(message.offeredAt)[way].offered += 1;
    this.#become(message, "waiting");
    return message;
  }

  /** Records that a request for it begins. */
  begin(message) {
    const attempt = { sentAt: now() };
    message.attempts.push(attempt);
    this.counts[message.way].requests += 1;
    this.#become(message, "sent");
    return attempt;
  }

  /** Records a response, or that there is none. `retryAt` says that the request will be repeated. */
  respond(message, attempt, response, retryAt = null) {
    Object.assign(attempt, { respondedAt: now(), response, retryAt });
    const { way } = message;
    const body = response.json;
    const column = this.#column(attempt.respondedAt)[way];
    const name = response.status || "none";
    column.responses[name] = (column.responses[name] ?? 0) + 1;
    const accepted = response.status >= 200 && response.status < 300;
    if (retryAt !== null) return this.#become(message, "waiting");
    message.respondedAt = attempt.respondedAt;
    // From when the message was to be sent: a caller that waits for a free connection waits, too.
    column.responseMs.push(message.respondedAt - message.offeredAt);
    message.statusPath = body?.statusPath ?? null;
    if (!accepted) {
      const status = response.status === 0 ? "unknown" : response.status === 409 ? "conflict" : "error";
      return this.#become(message, status);
    }
    this.counts[way].accepted += 1;
    column.accepted += 1;
    if (body?.receipt) {
      message.receipt = body.receipt;
      this.#byReceipt.set(message.receipt, message);
      this.#become(message, "queued");
      const early = this.#early.get(message.receipt) ?? [];
      this.#early.delete(message.receipt);
      for (const { event, at } of early) this.notify(event, at);
    } else {
      this.#settle(message, body?.status ?? "stored", null);
    }
  }

  /** Records a notification. It belongs to the request with its receipt, whatever other message has the same id. */
  notify(event, at = now()) {
    const receipt = event.data?.receipt;
    const message = this.#byReceipt.get(receipt);
    if (!message) {
      // Of a response that is still to come, or of another client of the same owner.
      this.#early.set(receipt, [...(this.#early.get(receipt) ?? []), { event, at }]);
      if (this.#early.size > 10_000) this.#early.delete(this.#early.keys().next().value);
      return null;
    }
    if (message.events.some(({ event: { id } }) => id === event.id)) return null;
    message.events.push({ at, event });
    message.notifiedAt ??= at;
    if (message.events.length === 1) this.counts.queue.notified += 1;
    this.#settle(message, event.type.split(".").at(-1), event.data);
    return message;
  }

  /** Records the response to a look-up of this request. */
  lookUp(message, response) {
    const body = response.json;
    message.lookUps.push({ at: now(), response });
    this.version += 1;
    if (response.status === 200 && body?.status && body.status !== "queued")
      this.#settle(message, body.status, body);
  }

  /** The messages of an owner whose status a look-up may change, oldest first. */
  toLookUp(owner) {
    return this.all.filter((message) => message.owner === owner && mayHaveChanged(message));
  }

  /** Messages without a response or an outcome, and how long the oldest has been waiting, in milliseconds. */
  openOf(way) {
    const [oldest] = this.#open[way];
    return { number: this.#open[way].size, oldestMs: oldest ? now() - oldest.offeredAt : null };
  }

  /** Notes what is open now; call it once a second. */
  sample() {
    const column = this.#column(now());
    for (const way of WAYS) {
      const { number, oldestMs } = this.openOf(way);
      Object.assign(column[way], { open: number, oldestMs: oldestMs ?? 0 });
    }
  }

  /** The columns to show, up to the last complete second. */
  columns() {
    const last = Math.floor(now() / 1000) - 1;
    return Array.from({ length: SHOWN_SECONDS }, (_, place) => {
      const second = last - SHOWN_SECONDS + 1 + place;
      return this.#columns.get(second) ?? newColumn(second);
    });
  }

  /** All that was recorded, without tokens. */
  record() {
    return {
      recordedAt: new Date().toISOString(),
      counts: this.counts,
      seconds: [...this.#columns.values()],
      messages: this.all,
    };
  }

  #settle(message, status, data) {
    const first = message.outcome === null;
    message.outcome = data ?? {};
    if (status === "stored" && message.storedAt === null) {
      const at = now();
      const stored = Date.parse(data?.storedAt ?? "");
      // The same payload may have been stored long before; and the clock of the stack may differ from ours.
      const isOwn = stored >= message.offeredAt - 2000 && stored <= at + 2000;
      message.storedAt = Number.isNaN(stored) ? message.respondedAt : stored;
      const shown = Number.isNaN(stored) || isOwn ? Math.min(message.storedAt, at) : at;
      const column = this.#column(shown)[message.way];
      column.stored += 1;
      if (first && (isOwn || Number.isNaN(stored))) column.storedMs.push(Math.max(shown - message.offeredAt, 0));
    }
    this.#become(message, status);
  }

  #become(message, status) {
    const { way } = message;
    if (message.status) this.counts[way][message.status] -= 1;
    this.counts[way][status] += 1;
    message.status = status;
    if (OPEN.has(status)) this.#open[way].add(message);
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
        if (old >= second - KEPT_SECONDS) break;
        this.#columns.delete(old);
      }
    }
    return column;
  }
}
