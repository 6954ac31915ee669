// What the client has to do, with every fault: the same cases under Node.js and in a browser.
//
// A case gets `intake(options)`, a new client; `control(method, path, body)` of the proxy in between; `requests(method)`,
// which that proxy has received; `bulk`; and `tokens`, of which one is `valid` and one `expired`.

const faulty = (status, retryAfter) => ({ status, retryAfter });
const LOST = { cut: "after" };

let number = 0;
const start = Math.floor(performance.timeOrigin).toString(36);
const newId = (name) => `${name}-${start}-${++number}`;

function same(actual, expected, what = "") {
  const [one, other] = [actual, expected].map((value) => JSON.stringify(value) ?? "undefined");
  if (one !== other) throw new Error(`${what}: ${one} instead of ${other}`);
}

function check(condition, what) {
  if (!condition) throw new Error(what);
}

async function until(what, condition) {
  const end = performance.now() + 120_000;
  for (;;) {
    const result = await condition();
    if (result) return result;
    check(performance.now() < end, `waited for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function failure(promise) {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  check(outcome.error, `no error, but ${JSON.stringify(outcome.value)}`);
  return outcome.error;
}

const isOpen = (client) => until("the socket to open", () => client.connection.state === "open");

/** A WebSocket that a case plays the server of. */
class PlayedSocket extends EventTarget {
  static all = [];

  constructor(url, protocols) {
    super();
    Object.assign(this, { url, protocols, sent: [] });
    PlayedSocket.all.push(this);
    queueMicrotask(() => this.dispatchEvent(new Event("open")));
  }

  send(text) {
    this.sent.push(text);
    queueMicrotask(() => this.play({ type: "pong" }));
  }

  play(frame) {
    const event = new Event("message");
    event.data = JSON.stringify(frame);
    this.dispatchEvent(event);
  }

  close() {}
}

/** Bulk requests, as the contract has them, in the place of `fetch`. */
function bulkServer() {
  const requests = [];
  const messages = new Map();
  const settle = ({ id, payload }) => {
    if (Array.isArray(payload)) return { id, status: "rejected", reason: "the message is JSON, but not an object" };
    const [before, now] = [messages.get(id), JSON.stringify(payload)];
    if (before !== undefined && before !== now) return { id, status: "conflict", reason: "another" };
    messages.set(id, now);
    return { id, status: "stored" };
  };
  const receipts = new Map();
  const server = {
    requests,
    /** Responses to the next requests, each in the place of the usual one. */
    instead: [],
    fetch: async (url, { method, body, signal }) => {
      const path = url.replace("http://bulk.test", "");
      const request = { method, path, body };
      requests.push(request);
      request.signal = signal;
      const json = (status, value, headers) => new Response(JSON.stringify(value), { status, headers });
      const instead = server.instead.shift();
      const usual = () => {
        if (method === "GET") {
          const outcomes = receipts.get(path.split("/").at(-1));
          return json(200, { receipt: path.split("/").at(-1), status: "settled", outcomes });
        }
        const outcomes = JSON.parse(body).messages.map(settle);
        if (path === "/messages") {
          return json(outcomes.every(({ status }) => status === "stored") ? 200 : 207, { outcomes });
        }
        const receipt = `bulk-${receipts.size}`;
        receipts.set(receipt, outcomes);
        return json(202, { status: "queued", receipt, statusPath: `/receipts/${receipt}` });
      };
      return instead ? instead({ usual, json, request }) : usual();
    },
  };
  return server;
}

const some = (count, text = () => '{"item":"book"}') =>
  Array.from({ length: count }, (_, at) => ({ id: `m-${at}`, payload: text(at) }));

export const cases = {
  async "a message is stored once, and another payload is a conflict"({ intake }) {
    const client = intake();
    const id = newId("store");
    for (const payload of [{ item: "book", big: 1 }, '{"big": 1, "item": "book"}']) {
      const { status, ...outcome } = await client.store(id, payload);
      same([outcome.id, status], [id, "stored"]);
    }
    const { status, reason } = await client.store(id, { item: "lamp" });
    same([status, typeof reason], ["conflict", "string"]);
  },

  async "a payload's text is stored as it is"({ intake }) {
    const client = intake();
    const [id, text] = [newId("text"), '{"n": 12345678901234567890, "e":"\\u00e9é"}'];
    await client.store(id, text);
    const { text: found } = await client.attempt("GET", `/messages/${id}`);
    check(found.includes(text), found);
  },

  async "a queued message's outcome is looked up without a socket"({ intake, requests }) {
    const client = intake({ WebSocket: null });
    const id = newId("queue");
    const outcome = await client.queue(id, { item: "book" });
    same([outcome.id, outcome.status, outcome.payload], [id, "stored", undefined]);
    check(outcome.receipt && outcome.storedAt && outcome.receivedAt, JSON.stringify(outcome));
    same((await client.queue(id, { item: "lamp" })).status, "conflict");
    check((await requests("GET")).length >= 2, "it looks up");
  },

  async "a queued message's outcome is notified, and not looked up"({ intake, requests }) {
    const states = [];
    const client = intake({ onConnection: ({ state }) => states.push(state) });
    client.connect();
    await isOpen(client);
    const ids = [1, 2, 3].map(() => newId("notified"));
    const outcomes = await Promise.all(ids.map((id) => client.queue(id, { item: "book" })));
    same(
      outcomes.map(({ id, status }) => [id, status]),
      ids.map((id) => [id, "stored"]),
    );
    check(
      outcomes.every(({ receipt, storedAt }) => receipt && storedAt),
      JSON.stringify(outcomes),
    );
    same(await requests("GET"), []);
    client.close();
    same(states, ["connecting", "open", "closed"]);
  },

  async "503 and 429 are repeated, not before Retry-After"({ intake, control, requests }) {
    const client = intake({ WebSocket: null });
    for (const method of ["store", "queue"]) {
      await control("DELETE", "/requests");
      await control("PUT", "/faults", [faulty(503, 1), faulty(429, 2)]);
      same((await client[method](newId(method), { item: "book" })).status, "stored");
      const [first, second, third] = await requests("PUT");
      check(second.at - first.at >= 1000, `${second.at - first.at} ms after Retry-After: 1`);
      check(third.at - second.at >= 2000, `${third.at - second.at} ms after Retry-After: 2`);
    }
  },

  async "a lost request, a lost response and a lost look-up are repeated"({ intake, control }) {
    const client = intake({ WebSocket: null });
    await control("PUT", "/faults", [{ cut: "before" }, LOST, LOST]);
    same((await client.store(newId("lost"), { item: "book" })).status, "stored");
    await control("PUT", "/faults", [{ cut: "before" }, LOST, {}, LOST, faulty(500), faulty(503)]);
    same((await client.queue(newId("lost"), { item: "book" })).status, "stored");
  },

  async "what a dropped socket missed is looked up as soon as it is back"({ intake, control, requests }) {
    const client = intake();
    client.connect();
    await isOpen(client);
    await control("PUT", "/muted", true);
    const outcome = client.queue(newId("missed"), { item: "book" });
    await until("the 202", async () => (await requests("PUT")).at(-1)?.status === 202);
    await control("PUT", "/refuses-sockets", true);
    await control("DELETE", "/sockets");
    await until("the drop to be noticed", () => client.connection.state === "waiting");
    await control("PUT", "/muted", false);
    await control("PUT", "/refuses-sockets", false);
    same((await outcome).status, "stored");
    check(
      (await requests("GET")).some(({ path }) => path.includes("?receipt=")),
      "it was looked up",
    );
    await isOpen(client);
  },

  async "without any socket that opens, outcomes are looked up"({ intake, control }) {
    await control("PUT", "/refuses-sockets", true);
    const client = intake();
    same((await client.queue(newId("refused"), { item: "book" })).status, "stored");
    check(client.connection.state !== "open", client.connection.state);
  },

  async "an expired token is renewed once, for requests and for the socket"({ intake, tokens }) {
    const asked = [];
    const token = async (denied) => (asked.push(denied), denied ? tokens.valid : tokens.expired);
    const client = intake({ token });
    const ids = [1, 2, 3].map(() => newId("renewed"));
    await Promise.all(ids.map((id) => client.store(id, { item: "book" })));
    same(asked, [undefined, tokens.expired], "for all requests together");

    asked.length = 0;
    const connected = intake({ token });
    connected.connect();
    await isOpen(connected);
    same(asked, [undefined, tokens.expired]);
  },

  async "a token that is denied for good is an error, and nothing is in doubt"({ intake, tokens }) {
    for (const token of [tokens.expired, () => tokens.expired]) {
      const client = intake({ token });
      const error = await failure(client.store(newId("denied"), { item: "book" }));
      same([error.name, error.status, error.type], ["IntakeError", 401, "urn:intake:problem:unauthorized"]);
      same(error.inDoubt, []);
      client.connect();
      await until("the socket to be denied", () => client.connection.state === "denied");
    }
    const client = intake({ token: async () => Promise.reject(new Error("signed out")) });
    const error = await failure(client.store(newId("denied"), { item: "book" }));
    same([error.name, error.cause.message, error.inDoubt], ["IntakeError", "signed out", []]);
  },

  async "a token that expires under an open socket is renewed"({ intake }) {
    PlayedSocket.all = [];
    const tokens = ["old", "new"];
    const client = intake({ token: () => tokens.shift(), WebSocket: PlayedSocket });
    client.connect();
    await isOpen(client);
    same(PlayedSocket.all[0].protocols, ["intake", "bearer.old"]);
    PlayedSocket.all[0].play({ type: "error", reason: "the token has expired: connect again, with a new one" });
    await until("another socket", () => PlayedSocket.all.length === 2 && client.connection.state === "open");
    same(PlayedSocket.all[1].protocols, ["intake", "bearer.new"]);
  },

  async "a wrong clock changes nothing"({ intake, tokens }) {
    const RightDate = globalThis.Date;
    for (const days of [-400, 400]) {
      globalThis.Date = class extends RightDate {
        constructor(...parts) {
          super(...(parts.length > 0 ? parts : [globalThis.Date.now()]));
        }
        static now() {
          return RightDate.now() + days * 24 * 3600 * 1000;
        }
      };
      try {
        const client = intake({ token: (denied) => (denied ? tokens.valid : tokens.expired) });
        client.connect();
        await isOpen(client);
        same((await client.store(newId("clock"), { item: "book" })).status, "stored");
        same((await client.queue(newId("clock"), { item: "book" })).status, "stored");
      } finally {
        globalThis.Date = RightDate;
      }
    }
  },

  async "a cancelled call ends at once, and sends no more"({ intake, control, requests }) {
    const client = intake({ WebSocket: null });
    await control("PUT", "/faults", [{ ...faulty(503, 1), forEver: true }]);
    for (const method of ["store", "queue"]) {
      await control("DELETE", "/requests");
      const controller = new AbortController();
      const call = client[method](newId("cancelled"), { item: "book" }, { signal: controller.signal });
      await until("a request", async () => (await requests("PUT")).length > 0);
      controller.abort();
      same((await failure(call)).name, "AbortError");
      same((await failure(client[method](newId("cancelled"), {}, { signal: controller.signal }))).name, "AbortError");
    }
    await control("PUT", "/faults", []);
    // A later call would be after a request of an earlier one.
    same((await client.store(newId("later"), { item: "book" })).status, "stored");
    same((await requests("PUT")).length, 2);
  },

  async "a call gives up in time, and says what is in doubt"({ intake, control }) {
    const client = intake({ WebSocket: null, giveUpAfter: 1500 });
    const id = newId("in-doubt");
    await control("PUT", "/faults", [{ ...faulty(503), forEver: true }]);
    let error = await failure(client.store(id, { item: "book" }));
    same([error.name, error.id, error.inDoubt, error.status], ["IntakeError", id, [id], 503]);
    same([error.type, error.detail, error.requestId], ["urn:intake:problem:test", "On purpose.", "test="]);

    await control("PUT", "/faults", [{ ...faulty(429), forEver: true }]);
    error = await failure(client.store(id, { item: "book" }, { giveUpAfter: 800 }));
    same([error.inDoubt, error.status], [[], 429], "nothing of it was accepted");

    await control("PUT", "/faults", [{}, { ...faulty(503), forEver: true }]);
    error = await failure(client.queue(id, { item: "book" }, { giveUpAfter: 4000 }));
    same([error.id, error.inDoubt], [id, [id]]);
    same(error.statusPath, `/messages/${id}?receipt=${error.receipt}`);
  },

  async "a request that cannot succeed is an error at once"({ intake, control, requests }) {
    const client = intake({ WebSocket: null });
    for (const method of ["store", "queue"]) {
      await control("DELETE", "/requests");
      const error = await failure(client[method]("not legal!", { item: "book" }));
      same([error.name, error.status, error.type], ["IntakeError", 400, "urn:intake:problem:invalid-id"]);
      same([error.inDoubt, (await requests("PUT")).length], [[], 1]);
    }
    await control("PUT", "/faults", [LOST]);
    const error = await failure(client.store("not legal!", { item: "book" }));
    same([error.status, error.inDoubt], [400, ["not legal!"]], "the lost response is in doubt");
    same((await failure(client.store("id", undefined))).name, "TypeError");
  },

  async "closing ends the calls"({ intake, control }) {
    const client = intake({ WebSocket: null });
    await control("PUT", "/faults", [{ ...faulty(503, 60), forEver: true }]);
    const call = failure(client.store(newId("closed"), { item: "book" }));
    client.close();
    const error = await call;
    same([error.name, error.message.startsWith("the client is closed")], ["IntakeError", true]);
  },

  async "hundreds of calls at once end, each with its outcome"({ intake }) {
    const client = intake();
    const ids = Array.from({ length: 300 }, () => newId("many"));
    const outcomes = await Promise.all(ids.map((id) => client.queue(id, { item: "book" })));
    same(
      outcomes.map(({ id, status }) => `${id} ${status}`),
      ids.map((id) => `${id} stored`),
    );
  },

  async "bulks are split by number and bytes, and the outcomes are in order"({ bulk }) {
    const server = bulkServer();
    const client = bulk(server);
    const messages = some(250);
    messages[120].payload = "[]";
    const outcomes = await client.storeAll(messages);
    same(
      server.requests.map(({ body }) => JSON.parse(body).messages.length),
      [100, 100, 50],
    );
    same(
      outcomes.map(({ id }) => id),
      messages.map(({ id }) => id),
    );
    same(
      outcomes.filter(({ status }) => status !== "stored").map(({ id, status }) => [id, status]),
      [["m-120", "rejected"]],
    );

    server.requests.length = 0;
    const filler = "é".repeat(120_000);
    await client.storeAll(some(9, (at) => ({ at, filler })));
    const sizes = server.requests.map(({ body }) => new TextEncoder().encode(body).length);
    same([sizes.length, sizes.every((size) => size <= 1_000_000)], [3, true], JSON.stringify(sizes));
    same(await client.storeAll([]), []);
  },

  async "a bulk carries texts as they are, and nothing that is not JSON"({ bulk }) {
    const server = bulkServer();
    const client = bulk(server);
    const text = '{"n": 12345678901234567890}';
    const injected = '{}},{"id":"other","payload":{}';
    const outcomes = await client.storeAll([
      { id: "a", payload: injected },
      { id: 'b"', payload: text },
    ]);
    same(
      outcomes.map(({ id, status }) => [id, status]),
      [
        ["a", "rejected"],
        ['b"', "stored"],
      ],
    );
    same(
      server.requests.map(({ body }) => body),
      [`{"messages":[{"id":"b\\"","payload":${text}}]}`],
    );
  },

  async "what was unavailable in a bulk is sent again, and the rest is not"({ bulk }) {
    const server = bulkServer();
    server.instead = [
      () => Promise.reject(new TypeError("lost")),
      ({ json }) => json(503, { title: "Unavailable" }),
      ({ json }) =>
        json(207, { outcomes: ["stored", "unavailable", "stored"].map((status, at) => ({ id: `m-${at}`, status })) }),
    ];
    const outcomes = await bulk(server).storeAll(some(3));
    same(
      outcomes.map(({ id, status }) => `${id} ${status}`),
      ["m-0 stored", "m-1 stored", "m-2 stored"],
    );
    same(
      server.requests.map(({ body }) =>
        JSON.parse(body)
          .messages.map(({ id }) => id)
          .join(),
      ),
      ["m-0,m-1,m-2", "m-0,m-1,m-2", "m-0,m-1,m-2", "m-1"],
    );
  },

  async "one bulk that fails hides no outcome of another"({ bulk }) {
    const server = bulkServer();
    server.instead = [
      ({ usual }) => usual(),
      ({ json }) => json(413, { type: "urn:intake:problem:payload-too-large" }),
    ];
    const error = await failure(bulk(server).storeAll(some(150)));
    same([error.status, error.inDoubt.length, error.id], [413, 0, "m-100"]);
    same(
      error.outcomes.map((outcome) => outcome?.status ?? "unknown").join(),
      [...Array(100).fill("stored"), ...Array(50).fill("unknown")].join(),
    );
    server.instead = [
      ({ json }) =>
        json(207, {
          outcomes: [
            { id: "m-0", status: "stored" },
            { id: "m-1", status: "unavailable" },
          ],
        }),
    ];
    const more = Array(99).fill(({ json }) => json(503, {}));
    server.instead.push(...more);
    const doubt = await failure(bulk(server).storeAll(some(2), { giveUpAfter: 600 }));
    same([doubt.id, doubt.inDoubt, doubt.outcomes], ["m-1", ["m-1"], [{ id: "m-0", status: "stored" }, null]]);
  },

  async "the outcomes of a queued bulk are looked up"({ bulk }) {
    const server = bulkServer();
    server.instead = [({ usual }) => usual(), ({ json }) => json(200, { receipt: "bulk-0", status: "queued" })];
    const messages = [...some(2), { id: "m-0", payload: { another: true } }];
    const outcomes = await bulk(server).queueAll(messages);
    same(
      outcomes.map(({ id, status, receipt }) => [id, status, receipt]),
      [
        ["m-0", "stored", "bulk-0"],
        ["m-1", "stored", "bulk-0"],
        ["m-0", "conflict", "bulk-0"],
      ],
    );
    same(
      server.requests.map(({ method, path }) => `${method} ${path}`),
      ["POST /queue", "GET /receipts/bulk-0", "GET /receipts/bulk-0"],
    );
    server.instead = [
      ({ usual }) => usual(),
      ({ json }) => json(200, { receipt: "bulk-1", status: "rejected", reason: "no bulk" }),
    ];
    same(
      (await bulk(server).queueAll(some(2))).map(({ id, status, reason }) => [id, status, reason]),
      [
        ["m-0", "rejected", "no bulk"],
        ["m-1", "rejected", "no bulk"],
      ],
    );
  },

  async "a notification ends the look-up that is under way"({ bulk }) {
    const server = bulkServer();
    PlayedSocket.all = [];
    const client = bulk(server, { webSocketUrl: "ws://bulk.test", WebSocket: PlayedSocket });
    client.connect();
    await isOpen(client);
    // The look-up, without a response.
    server.instead = [({ usual }) => usual(), () => new Promise(() => {})];
    const outcome = client.queueAll(some(1));
    await until("the request", () => server.requests.length === 1);
    PlayedSocket.all[0].dispatchEvent(new Event("close"));
    const lookUp = await until("a look-up after the socket has opened again", () => server.requests[1]);
    PlayedSocket.all[1].play([{ type: "intake.message.stored", subject: "m-0", data: { receipt: "bulk-0" } }]);
    same((await outcome)[0].status, "stored");
    check(lookUp.signal.aborted, "the look-up goes on");
  },

  async "the outcomes of a queued bulk are notified"({ bulk }) {
    const server = bulkServer();
    PlayedSocket.all = [];
    const client = bulk(server, { webSocketUrl: "ws://bulk.test", WebSocket: PlayedSocket });
    client.connect();
    await isOpen(client);
    const event = (subject, receipt, status = "stored") => ({
      type: `intake.message.${status}`,
      subject,
      data: { receipt },
    });
    const [socket] = PlayedSocket.all;
    // One of them arrives before the response.
    server.instead = [({ usual }) => (socket.play([event("m-0", "bulk-0")]), usual())];
    const outcomes = client.queueAll(some(2));
    await until("the request", () => server.requests.length === 1);
    socket.play([event("m-1", "another")]);
    socket.play([event("m-1", "bulk-0", "failed")]);
    same(
      (await outcomes).map(({ id, status }) => `${id} ${status}`),
      ["m-0 stored", "m-1 failed"],
    );
    // Of two messages with one id, a notification does not say which it means.
    const twice = client.queueAll([...some(1), ...some(1)]);
    await until("the request", () => server.requests.length === 2);
    await until("a look-up", () => (socket.play([event("m-0", "bulk-1")]), server.requests.length > 2));
    same(
      (await twice).map(({ id, status }) => `${id} ${status}`),
      ["m-0 stored", "m-0 stored"],
    );
    same(
      server.requests.filter(({ method }) => method === "GET").map(({ path }) => path),
      ["/receipts/bulk-1"],
    );
  },
};

/** Runs a case. `at` says where everything is, and has the tokens. */
export async function run(name, { Intake }, at) {
  const control = async (method, path, body) => {
    const response = await fetch(`${at.control}${path}`, { method, body: JSON.stringify(body) });
    return response.json();
  };
  const requests = async (method) =>
    (await control("GET", "/requests")).filter((request) => request.method === method);
  const nothing = [
    ["/faults", []],
    ["/muted", false],
    ["/refuses-sockets", false],
  ];
  for (const [path, value] of nothing) await control("PUT", path, value);
  await control("DELETE", "/requests");
  const clients = [];
  const client = (options) => {
    clients.push(new Intake({ token: at.tokens.valid, giveUpAfter: 120_000, ...options }));
    return clients.at(-1);
  };
  const intake = (options) => client({ url: at.url, webSocketUrl: at.webSocketUrl, ...options });
  const bulk = ({ fetch }, options) => client({ url: "http://bulk.test", fetch, ...options });
  try {
    await cases[name]({ intake, bulk, control, requests, tokens: at.tokens });
  } finally {
    for (const one of clients) one.close();
  }
}
