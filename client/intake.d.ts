/** What a message ended as. */
export interface Outcome {
  id: string;
  /**
   * `stored`: this message is stored, or the same payload was before. `rejected`: the message is not valid.
   * `conflict`: another payload is stored under the id. `failed`: an operator has the message.
   */
  status: "stored" | "rejected" | "conflict" | "failed";
  /** For people; of every status but `stored`. */
  reason?: string;
  /** Times of the server (RFC 3339), of queued messages. */
  storedAt?: string;
  receivedAt?: string;
  /** Of queued messages: what the request was accepted with. */
  receipt?: string;
  /** Deliveries until the outcome, if it was looked up. */
  attempts?: number;
  via?: "sync" | "queue";
}

export interface Message {
  id: string;
  /** An object, or its JSON as a text, which is sent as it is. */
  payload: object | string;
}

export interface CallOptions {
  /** Cancels the call: it rejects with the reason of the signal. */
  signal?: AbortSignal;
  /** For how long to wait for the outcome, in milliseconds. */
  giveUpAfter?: number;
}

/** The state of the WebSocket. `retryAt` is when it connects again, on the clock of `performance.now()`. */
export interface Connection {
  state: "connecting" | "open" | "waiting" | "denied" | "closed";
  retryAt: number | null;
}

export interface IntakeOptions {
  /** The address of the HTTP API: the stack's output `HttpUrl`. */
  url: string;
  /** The address of the WebSocket API: the output `WebSocketUrl`. Without it, outcomes are looked up. */
  webSocketUrl?: string;
  /**
   * The token, or a function that returns it. The function is called for the first request, and again with the token
   * that was denied: it should return a new one then.
   */
  token: string | ((denied?: string) => string | Promise<string>);
  /** For how long each call waits for its outcome, in milliseconds: 300,000 (five minutes) if not given. */
  giveUpAfter?: number;
  /** In the place of the global ones. Without any `WebSocket`, outcomes are looked up. */
  fetch?: typeof fetch;
  WebSocket?: (new (url: string, protocols: string[]) => WebSocket) | null;
  /** Called with the CloudEvents of each frame, also those of other clients of the same owner. */
  onEvents?: (events: CloudEvent[]) => void;
  /** Called when the state of the WebSocket changes. */
  onConnection?: (connection: Connection) => void;
}

/** A notification. Its `subject` is the id of the message. */
export interface CloudEvent {
  id: string;
  type: `intake.message.${Outcome["status"]}`;
  subject: string;
  time: string;
  data: { receipt: string; receivedAt?: string; storedAt?: string; reason?: string };
}

/** A response as it is. `status` is 0 if there is none; then `reason` says why. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  text: string;
  reason?: string;
  /** The body, or null if it is not JSON. */
  readonly json: any;
}

export class Intake {
  constructor(options: IntakeOptions);
  readonly connection: Connection;
  /** Stores a message. It resolves with `stored` or `conflict`. */
  store(id: string, payload: object | string, options?: CallOptions): Promise<Outcome>;
  /** Queues a message, and waits for its outcome. */
  queue(id: string, payload: object | string, options?: CallOptions): Promise<Outcome>;
  /** Stores any number of messages, up to 100 in one request. The outcomes are in the order of the messages. */
  storeAll(messages: Message[], options?: CallOptions): Promise<Outcome[]>;
  /** Queues any number of messages, up to 100 in one request, and waits for their outcomes, in the same order. */
  queueAll(messages: Message[], options?: CallOptions): Promise<Outcome[]>;
  /** Sends one request with the current token, once, and resolves with whatever comes of it. */
  attempt(
    method: string,
    path: string,
    body?: string,
    options?: { signal?: AbortSignal; url?: string },
  ): Promise<Reply>;
  /** Opens the WebSocket, which `queue` and `queueAll` do when they need it. It stays open until `close`. */
  connect(): void;
  /** Closes the WebSocket, and ends all calls with an `IntakeError`. */
  close(): void;
}

/** A problem that no repetition solves, or a time that is over. */
export class IntakeError extends Error {
  name: "IntakeError";
  /** The ids of the messages that may be stored, now or later. Sending them again is safe. */
  inDoubt: string[];
  /** The first message without an outcome; and its receipt and where to look it up, if it was accepted. */
  id: string;
  receipt?: string;
  statusPath?: string;
  /** Of `storeAll` and `queueAll`: the outcomes, and null for each message without one. */
  outcomes?: (Outcome | null)[];
  /** The latest response without success: its status (0 if there was none), and what its problem says. */
  status: number | null;
  type: string | null;
  detail: string | null;
  /** The whole problem document (RFC 9457). */
  problem: { type: string; title: string; status: number; detail?: string } | null;
  /** With it an operator finds the request in the logs. */
  requestId: string | null;
}

/** Whether the same request may succeed later. */
export function isTemporary(reply: Pick<Reply, "status">): boolean;

/** How long to wait after a response before the nth repetition, from 0, in milliseconds. */
export function retryDelay(reply: Pick<Reply, "headers">, repetition: number): number;
