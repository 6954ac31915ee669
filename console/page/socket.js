// An owner's WebSocket: it stays open, or says why it cannot.

import { claims, json } from "./api.js";

/** The shortest and the longest pause before another attempt. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** API Gateway closes a socket that is idle for ten minutes; a network may drop one sooner, and silently. */
const PING_INTERVAL_MS = 60_000;
const PONG_LIMIT_MS = 10_000;

/** States: `connecting`, `open`, `waiting` (until `retryAt`), `expired`, `closed`. */
export class Socket {
  #url;
  #token;
  #socket = null;
  #attempts = 0;
  #timers = new Set();
  state = "closed";
  retryAt = 0;

  /** `onOpen` is called once pushes reach the socket, each time that it opens. */
  constructor(url, token, { onOpen, onEvents, onState }) {
    this.#url = url;
    this.#token = token;
    Object.assign(this, { onOpen, onEvents, onState });
    this.expiresAt = claims(token)?.expiresAt ?? 0;
    window.addEventListener("online", () => this.state === "waiting" && this.open());
    this.open();
  }

  open() {
    this.#clear();
    // A timer holds at most 2^31 ms.
    this.#after(
      Math.min(this.expiresAt - Date.now(), 2 ** 31 - 1),
      () => Date.now() >= this.expiresAt && this.#expire(),
    );
    if (Date.now() >= this.expiresAt) return;
    this.#become("connecting");
    const socket = new WebSocket(this.#url, ["intake", `bearer.${this.#token}`]);
    this.#socket = socket;
    // What a socket does after it was replaced is of no interest.
    const listen = (name, action) =>
      socket.addEventListener(name, (event) => this.#socket === socket && action(event));
    listen("open", () => this.#ping());
    listen("message", (event) => this.#receive(event.data));
    listen("close", () => this.#retry());
  }

  close() {
    this.#drop();
    this.#become("closed");
  }

  #ping() {
    this.#socket.send(JSON.stringify({ action: "ping" }));
    this.pong = this.#after(PONG_LIMIT_MS, () => this.#retry());
  }

  #receive(text) {
    const frame = json({ text });
    if (Array.isArray(frame)) {
      this.onEvents(frame);
    } else if (frame?.type === "pong") {
      clearTimeout(this.pong);
      this.#after(PING_INTERVAL_MS, () => this.#ping());
      if (this.state !== "open") {
        this.#attempts = 0;
        this.#become("open");
        this.onOpen();
      }
    } else if (frame?.type === "error" && /expired/.test(frame.reason ?? "")) {
      this.#expire();
    }
  }

  #retry() {
    this.#drop();
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** this.#attempts, LONGEST_PAUSE_MS);
    this.#attempts += 1;
    // With jitter: after an outage, all clients would reconnect at once.
    const pause = longest * (0.5 + Math.random() / 2);
    this.retryAt = Date.now() + pause;
    this.#after(pause, () => this.open());
    this.#become("waiting");
  }

  #expire() {
    this.#drop();
    this.#become("expired");
  }

  #drop() {
    this.#clear();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #clear() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #after(ms, action) {
    const timer = setTimeout(action, Math.max(ms, 0));
    this.#timers.add(timer);
    return timer;
  }

  #become(state) {
    this.state = state;
    this.onState();
  }
}
