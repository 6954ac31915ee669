// The client of Intake for browsers and Node.js: it sends messages until their outcome is known.
//
// A call retries whatever may succeed later, follows a receipt by the WebSocket and by look-ups until there is an
// outcome, and ends in time. Nothing here compares a time of the server with the clock of this machine.

/** API Gateway responds within 29 seconds; what takes longer is lost. */
const RESPONSE_TIMEOUT_MS = 35_000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 20_000;
/** The first and the longest pause before a look-up, while notifications arrive and while they do not. */
const LOOK_UP_MS = { notified: [60_000, 600_000], alone: [2_000, 60_000] };
/** Requests at once: more would only wait for each other, and large ones would be late. */
const MAX_REQUESTS = { single: 50, bulk: 4 };
/** What the server accepts in one request. */
const MAX_BULK = { messages: 100, bytes: 1_000_000 };
/** Notifications that are kept for responses that have not arrived yet. */
const MAX_EARLY = 10_000;
/** A later time is never: timers hold no more. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** API Gateway closes a socket that is idle for ten minutes; a network may drop one sooner, and silently. */
const PING_INTERVAL_MS = 60_000;
const PONG_TIMEOUT_MS = 10_000;
const LONGEST_RECONNECT_MS = 30_000;
/** A receipt that no message has: looking it up tells whether a token is accepted. */
const NO_RECEIPT = "/messages/-?receipt=00000000-0000-0000-0000-000000000000";

const bytesOf = (text) => new TextEncoder().encode(text).length;

/** A problem that no repetition solves, or a time that is over. `inDoubt` names the messages that may be stored. */
export class IntakeError extends Error {
  name = "IntakeError";
  inDoubt = [];

  constructor(message, { response, cause } = {}) {
    super(message, { cause });
    this.#describe(response);
  }

  #describe(response) {
    this.problem = response?.json ?? null;
    this.status = response?.status ?? null;
    this.type = this.problem?.type ?? null;
    this.detail = this.problem?.detail ?? response?.reason ?? null;
    this.requestId = response?.headers["x-amz-apigw-id"] ?? null;
  }

  /** Adds what is known of the messages. */
  about(parts, outcomes) {
    const last = parts.findLast(({ lastResponse }) => lastResponse)?.lastResponse;
    if (this.status === null && last) this.#describe(last);
    this.inDoubt = parts.flatMap((part) => part.ids.filter((_, at) => part.mayBeStored && !part.outcomes[at]));
    const openIn = ({ ids, outcomes }) => ids.findIndex((_, at) => !outcomes[at]);
    const first = parts.find((part) => openIn(part) >= 0) ?? parts[0];
    const { ids, receipt, statusPath } = first;
    Object.assign(this, { id: ids[openIn(first)], receipt, statusPath, outcomes: outcomes?.() });
    const count = this.inDoubt.length;
    if (count > 0)
      this.message += `; whether ${count === 1 ? `${this.inDoubt[0]} is` : `${count} messages are`} stored is unknown`;
    return this;
  }
}

/** A response as it is. `status` is 0 if there is none; then `reason` says why. */
class Reply {
  constructor(status, headers, text, reason) {
    Object.assign(this, { status, headers, text, reason });
  }

  /** The body, if it is JSON. */
  get json() {
    try {
      return JSON.parse(this.text);
    } catch {
      return null;
    }
  }
}

/** Whether the same request may succeed later. */
export const isTemporary = ({ status }) => status === 0 || status === 429 || status >= 500;

/** How long to wait after this response before the request is repeated for the nth time, from 0, in milliseconds. */
export function retryDelay({ headers }, repetition) {
  // A date in its place would need the server's clock.
  const retryAfter = Math.max(Number(headers["retry-after"]) || 0, 0) * 1000;
  return retryAfter + Math.random() * Math.min(FIRST_RETRY_MS * 2 ** repetition, LONGEST_RETRY_MS);
}

function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => (clearTimeout(timer), reject(signal.reason));
    const timer = setTimeout(() => (signal.removeEventListener("abort", stop), resolve()), ms);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
  });
}

/** Runs jobs, at most so many at once. */
function limiter(max) {
  const waiting = [];
  let free = max;
  return async (job) => {
    if (free > 0) free -= 1;
    else await new Promise((resolve) => waiting.push(resolve));
    try {
      return await job();
    } finally {
      if (waiting.length > 0) waiting.shift()();
      else free += 1;
    }
  };
}

/** What one request carries, and what is known of it. */
const partOf = (ids) => ({ ids, outcomes: [], mayBeStored: false, lastResponse: null });

const textOf = (payload) => {
  const text = typeof payload === "string" ? payload : JSON.stringify(payload);
  if (text === undefined) throw new TypeError(`a payload is an object or its text, not ${typeof payload}`);
  return text;
};

/** An outcome as every way of learning it has it: without what was sent. */
const outcomeOf = ({ payload, text, statusPath, ...outcome }) => outcome;

export class Intake {
  /** `connecting`, `open`, `waiting` until about `retryAt` (of `performance.now()`), `denied`, or `closed`. */
  connection = { state: "closed", retryAt: null };
  #options;
  #url;
  #token = null;
  #limited = { single: limiter(MAX_REQUESTS.single), bulk: limiter(MAX_REQUESTS.bulk) };
  #calls = new Set();
  /** By receipt: whom to tell. */
  #followed = new Map();
  #early = new Map();
  #queueing = 0;
  #socket = null;
  /** Bumped with each connection: what was sent in an earlier one may have been missed. */
  #epoch = 0;

  constructor(options) {
    const { fetch = globalThis.fetch, WebSocket = globalThis.WebSocket, giveUpAfter = 300_000 } = options;
    this.#options = { ...options, fetch: (...request) => fetch(...request), WebSocket, giveUpAfter };
    this.#url = String(options.url).replace(/\/+$/, "");
  }

  /** Stores a message. */
  async store(id, payload, options) {
    const [part, text] = [partOf([id]), textOf(payload)];
    return this.#run([part], options, async (signal) => {
      const response = await this.#send(part, signal, "PUT", `/messages/${encodeURIComponent(id)}`, text, [409]);
      if (response.status === 409) return { id, status: "conflict", reason: response.json?.detail };
      return { ...outcomeOf(response.json), id };
    });
  }

  /** Queues a message, and waits for its outcome. */
  async queue(id, payload, options) {
    const [part, text] = [partOf([id]), textOf(payload)];
    return this.#run([part], options, async (signal) => {
      const [outcome] = await this.#queue(part, signal, "PUT", `/queue/${encodeURIComponent(id)}`, text);
      return outcome;
    });
  }

  /** Stores messages in as few requests as possible. */
  storeAll(messages, options) {
    return this.#runAll(messages, options, async (part, texts, signal) => {
      let open = texts.map((_, at) => at);
      for (let repetition = 0; ; repetition += 1) {
        const body = `{"messages":[${open.map((at) => texts[at]).join()}]}`;
        const response = await this.#send(part, signal, "POST", "/messages", body);
        response.json.outcomes.forEach((outcome, place) => {
          if (outcome.status !== "unavailable") part.outcomes[open[place]] = outcome;
        });
        open = open.filter((at) => !part.outcomes[at]);
        if (open.length === 0) return;
        await sleep(retryDelay(response, repetition), signal);
      }
    });
  }

  /** Queues messages in as few requests as possible, and waits for their outcomes. */
  queueAll(messages, options) {
    return this.#runAll(messages, options, async (part, texts, signal) => {
      part.outcomes = await this.#queue(part, signal, "POST", "/queue", `{"messages":[${texts.join()}]}`);
    });
  }

  /** Sends a request once, whatever comes of it. */
  async attempt(method, path, body, { signal, url = this.#url } = {}) {
    const token = await this.#currentToken().catch((error) => new Reply(0, {}, "", error.message));
    return token instanceof Reply ? token : this.#once(token, method, url + path, body, signal);
  }

  /** Opens the WebSocket; `queue` and `queueAll` do so when they need it. */
  connect() {
    if (this.#socket || !this.#options.webSocketUrl || !this.#options.WebSocket) return;
    this.#socket = new Socket(this.#options, {
      token: (denied) => this.#currentToken(denied),
      isDenied: async (token) => (await this.#once(token, "GET", this.#url + NO_RECEIPT)).status === 401,
      onEvents: (events) => this.#receive(events),
      onState: (state, retryAt = null) => this.#become(state, retryAt),
    });
    this.#socket.open();
  }

  /** Ends the connection, and all calls that are under way. */
  close() {
    this.#socket?.close();
    this.#socket = null;
    for (const stop of this.#calls) stop(new IntakeError("the client is closed"));
  }

  /** Runs a call until it ends, is cancelled, or its time is over. */
  async #run(parts, { signal, giveUpAfter = this.#options.giveUpAfter } = {}, work, outcomes) {
    signal?.throwIfAborted();
    const controller = new AbortController();
    const stop = (reason) => controller.abort(reason);
    const cancel = () => stop(signal.reason);
    const giveUp = () => stop(new IntakeError(`no outcome within ${giveUpAfter} ms`));
    signal?.addEventListener("abort", cancel);
    const timer = giveUpAfter <= LONGEST_TIMER_MS ? setTimeout(giveUp, giveUpAfter) : undefined;
    this.#calls.add(stop);
    const stopped = new Promise((_, reject) => {
      controller.signal.addEventListener("abort", () => reject(controller.signal.reason));
    });
    try {
      return await Promise.race([work(controller.signal), stopped]);
    } catch (error) {
      throw error instanceof IntakeError ? error.about(parts, outcomes) : error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      this.#calls.delete(stop);
      // Ends look-ups and pauses that nobody waits for any more.
      stop();
    }
  }

  /** Splits messages into requests. All of them end before one's error is the error of the call. */
  async #runAll(messages, options, send) {
    const outcomes = [];
    const bulks = [];
    let bytes = Infinity;
    messages.forEach(({ id, payload }, index) => {
      const text = textOf(payload);
      try {
        // What is no JSON by itself could be JSON between the others, and say something else.
        JSON.parse(text);
      } catch (error) {
        outcomes[index] = { id, status: "rejected", reason: `the payload is not JSON: ${error.message}` };
        return;
      }
      const entry = `{"id":${JSON.stringify(id)},"payload":${text}}`;
      const more = bytesOf(entry) + 1;
      if (bytes + more > MAX_BULK.bytes || bulks.at(-1).texts.length === MAX_BULK.messages) {
        bulks.push({ part: partOf([]), texts: [], indices: [] });
        bytes = bytesOf('{"messages":[]}');
      }
      const { part, texts, indices } = bulks.at(-1);
      part.ids.push(id);
      texts.push(entry);
      indices.push(index);
      bytes += more;
    });
    const all = () => {
      for (const { part, indices } of bulks)
        indices.forEach((index, at) => (outcomes[index] = part.outcomes[at] ?? null));
      return outcomes;
    };
    if (bulks.length === 0) return outcomes;
    const parts = bulks.map(({ part }) => part);
    const work = async (signal) => {
      const sent = bulks.map(({ part, texts }) => send(part, texts, signal));
      const failure = (await Promise.allSettled(sent)).find(({ status }) => status === "rejected");
      if (failure) throw failure.reason;
      return all();
    };
    return this.#run(parts, options, work, all);
  }

  /** Sends a request until a response decides. What is no success, nor `expected`, is an error. */
  async #send(part, signal, method, path, body, expected = []) {
    let renewed = false;
    const limited = this.#limited[method === "POST" ? "bulk" : "single"];
    for (let repetition = 0; ;) {
      const token = await this.#currentToken();
      const before = part.mayBeStored;
      const response = await limited(() => {
        signal.throwIfAborted();
        if (method !== "GET") part.mayBeStored = true;
        return this.#once(token, method, this.#url + path, body, signal);
      });
      signal.throwIfAborted();
      const { status } = response;
      if ((status >= 200 && status < 300 && response.json) || expected.includes(status)) return response;
      part.lastResponse = response;
      if (status >= 400 && status < 500) part.mayBeStored = before;
      if (status === 401 && !renewed && (await this.#currentToken(token)) !== token) {
        renewed = true;
      } else if (isTemporary(response) || status < 300) {
        await sleep(retryDelay(response, repetition), signal);
        repetition += 1;
      } else {
        throw new IntakeError(`${response.json?.title ?? "no success"} (${status})`, { response });
      }
    }
  }

  async #once(token, method, url, body, signal) {
    const controller = new AbortController();
    const stop = () => controller.abort(signal?.reason);
    const timer = setTimeout(() => controller.abort(new Error("no response in time")), RESPONSE_TIMEOUT_MS);
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
    const headers = { Authorization: `Bearer ${token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      const init = { method, headers, body, cache: "no-store", credentials: "omit", signal: controller.signal };
      const response = await this.#options.fetch(url, init);
      return new Reply(response.status, Object.fromEntries(response.headers), await response.text());
    } catch (error) {
      return new Reply(0, {}, "", `${error?.name}: ${error?.message}`);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
  }

  /** The token to use. If it is the one that was denied, the caller's function is asked for another, once for all. */
  async #currentToken(denied) {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    if (this.#token === null || (denied !== undefined && (await this.#token) === denied)) {
      const asked = Promise.resolve(denied).then(token);
      this.#token = asked;
      // The next one asks again.
      asked.catch(() => (this.#token === asked ? (this.#token = null) : null));
    }
    try {
      return await this.#token;
    } catch (cause) {
      throw new IntakeError("there is no token", { cause });
    }
  }

  /** Sends a request into the queue, and waits for the outcomes of its receipt. */
  async #queue(part, signal, method, path, body) {
    this.connect();
    const epoch = this.connection.state === "open" ? this.#epoch : null;
    let followed;
    this.#queueing += 1;
    try {
      const { receipt, statusPath } = (await this.#send(part, signal, method, path, body)).json;
      Object.assign(part, { receipt, statusPath });
      followed = { part, notified: new Map(), mayHaveMissed: epoch !== this.#epoch };
      followed.outcomes = new Promise((resolve) => (followed.resolve = resolve));
      this.#followed.set(receipt, followed);
      for (const event of this.#early.get(receipt) ?? []) this.#notify(followed, event);
    } finally {
      this.#queueing -= 1;
      if (this.#queueing === 0) this.#early.clear();
    }
    try {
      return await Promise.race([followed.outcomes, this.#lookUp(followed, signal)]);
    } finally {
      this.#followed.delete(part.receipt);
    }
  }

  /** Looks up a receipt, less and less often, until it has outcomes. */
  async #lookUp(followed, signal) {
    const { part } = followed;
    for (let lookUps = 0; ; lookUps += 1) {
      await this.#untilDue(followed, lookUps, signal);
      followed.mayHaveMissed = false;
      const found = (await this.#send(part, signal, "GET", part.statusPath)).json;
      if (found.status === "queued") continue;
      const { receipt } = part;
      // Of a body that is no bulk there is one outcome, for all.
      const all = found.outcomes?.length === part.ids.length ? found.outcomes : null;
      return part.ids.map((id, at) => ({ ...outcomeOf(all?.[at] ?? found.outcomes?.[0] ?? found), id, receipt }));
    }
  }

  async #untilDue(followed, lookUps, signal) {
    while (true) {
      const isNotified = this.connection.state === "open" && !followed.mayHaveMissed;
      const [first, longest] = isNotified ? LOOK_UP_MS.notified : LOOK_UP_MS.alone;
      // Clients that began together are not to look up together.
      const pause = Math.min(first * 2 ** lookUps, longest) * (1 + Math.random() / 4);
      const due = sleep(pause, signal).then(() => true);
      const changed = new Promise((resolve) => (followed.wake = resolve)).then(() => false);
      // A socket that has just opened, or what needs a look-up at once, does not wait.
      if ((await Promise.race([due, changed])) || this.connection.state === "open") return;
    }
  }

  #notify({ part, notified, resolve, wake }, { type, subject, data }) {
    const id = part.ids.length === 1 ? part.ids[0] : subject;
    notified.set(id, { ...data, id, status: type.split(".").at(-1) });
    if (notified.size === part.ids.length) resolve(part.ids.map((id) => notified.get(id)));
    // Of two messages with one id, a notification does not say which it means.
    else if (notified.size === new Set(part.ids).size) wake?.();
  }

  #receive(events) {
    for (const event of events) {
      const receipt = event.data?.receipt;
      const followed = this.#followed.get(receipt);
      if (followed) this.#notify(followed, event);
      else if (this.#queueing > 0 && this.#early.size < MAX_EARLY)
        this.#early.set(receipt, [...(this.#early.get(receipt) ?? []), event]);
    }
    this.#options.onEvents?.(events);
  }

  #become(state, retryAt) {
    const before = this.connection.state;
    this.connection = { state, retryAt };
    if (state === "open") this.#epoch += 1;
    if ((state === "open") !== (before === "open")) {
      for (const followed of this.#followed.values()) {
        followed.mayHaveMissed = true;
        followed.wake?.();
      }
    }
    this.#options.onConnection?.(this.connection);
  }
}

/** One WebSocket that stays open: it pings, connects again, and renews its token. */
class Socket {
  #options;
  #on;
  #socket = null;
  #token = null;
  #failures = 0;
  #timer;
  #state = "closed";
  #online = () => this.#state === "waiting" && this.open();

  constructor(options, on) {
    this.#options = options;
    this.#on = on;
    globalThis.addEventListener?.("online", this.#online);
  }

  async open() {
    this.#drop();
    this.#become("connecting");
    const token = await this.#on.token().catch(() => null);
    if (this.#state !== "connecting") return;
    if (token === null) return this.#retry();
    this.#token = token;
    const socket = new this.#options.WebSocket(this.#options.webSocketUrl, ["intake", `bearer.${token}`]);
    this.#socket = socket;
    // What a socket does after it was replaced is of no interest.
    const listen = (name, action) =>
      socket.addEventListener(name, (event) => this.#socket === socket && action(event));
    listen("open", () => this.#ping());
    listen("message", ({ data }) => this.#receive(JSON.parse(data)));
    listen("close", () => this.#closed());
    // Not every WebSocket closes after an error of the handshake. In Node.js an error that nobody hears is fatal.
    listen("error", () => this.#closed());
  }

  close() {
    globalThis.removeEventListener?.("online", this.#online);
    this.#drop();
    this.#become("closed");
  }

  #ping() {
    this.#socket.send('{"action":"ping"}');
    this.#after(PONG_TIMEOUT_MS, () => this.#retry());
  }

  #receive(frame) {
    if (Array.isArray(frame)) {
      this.#on.onEvents(frame);
    } else if (frame.type === "pong") {
      this.#failures = 0;
      this.#after(PING_INTERVAL_MS, () => this.#ping());
      // Only now does the server know the connection, and push to it.
      if (this.#state !== "open") this.#become("open");
    } else if (frame.type === "error" && /expired/.test(frame.reason)) {
      this.#renew();
    }
  }

  /** A handshake does not tell a script why it failed: a request does. */
  async #closed() {
    const wasOpen = this.#state === "open";
    this.#drop();
    if (wasOpen) return this.#retry();
    const denied = await this.#on.isDenied(this.#token);
    if (this.#state === "connecting") denied ? this.#renew() : this.#retry();
  }

  async #renew() {
    this.#drop();
    this.#become("connecting");
    const token = await this.#on.token(this.#token).catch(() => this.#token);
    if (this.#state !== "connecting") return;
    if (token !== this.#token && this.#failures++ === 0) return this.open();
    this.#become("denied");
    this.#after(LONGEST_RECONNECT_MS, () => this.open());
  }

  #retry() {
    this.#drop();
    const longest = Math.min(2 * FIRST_RETRY_MS * 2 ** this.#failures++, LONGEST_RECONNECT_MS);
    // With jitter: after an outage, all clients would connect at once.
    const pause = longest * (0.5 + Math.random() / 2);
    this.#become("waiting", performance.now() + pause);
    this.#after(pause, () => this.open());
  }

  #drop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #after(ms, action) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, ms);
  }

  #become(state, retryAt) {
    this.#state = state;
    this.#on.onState(state, retryAt);
  }
}
