// The page: what the parts have to do with each other.

import { isLegalId, ownerOf, payloadFault } from "./api.js";
import { Details, outcomeView, responseView } from "./details.js";
import { announce, byId, count, element, now, setText, size } from "./dom.js";
import { Flow } from "./flow.js";
import { Guide } from "./guide.js";
import { Intake } from "./intake.js";
import { List, shownText } from "./list.js";
import { Messages, STATUSES, WAYS, isOpen } from "./messages.js";
import { Operator, call } from "./operator.js";
import { Burst, Sender } from "./sending.js";

const LOOK_UP_INTERVAL_MS = 5_000;

// In the fragment, which no request and no log shows.
const key = new URLSearchParams(location.hash.slice(1)).get("key");
/** By owner: the client, and whether its token was denied. */
const sessions = new Map();
let owner = null;
let burst = null;

const config = await (await fetch("config.json", { cache: "no-store" })).json();
const messages = new Messages(config.clockToleranceMs);
const canMint = config.canMint && key !== null;
const sender = new Sender(messages, config, (name) => sessions.get(name).intake, noteDenied);
const flow = new Flow(messages);
const details = new Details({
  lookUp: async (message) => sender.lookUp(message),
  edit: (message) => {
    byId("one-bulk").value = 1;
    fill(message.id, message.text, message.way);
    byId("one").parentElement.open = true;
    byId("payload").focus();
  },
});
const list = new List(byId("list"), (message) => details.open(message));

/** Why a message failed, as its owner learns it. */
async function reasonOf(name, id, receipt) {
  await ensureSessions([name]);
  const path = receipt.startsWith("bulk-") ? `/receipts/${receipt}` : `/messages/${id}?receipt=${receipt}`;
  const found = (await sender.get(name, path)).json;
  return [found, ...(found?.outcomes ?? [])].find((one) => one?.reason)?.reason;
}

// Owners and their clients

/** Begins to send and to be notified as an owner. `token` is one, or a function that returns one. */
function begin(name, token) {
  sessions.get(name)?.intake.close();
  const intake = new Intake({
    url: config.httpUrl,
    webSocketUrl: config.webSocketUrl,
    token,
    onEvents: (events) => events.forEach((event) => messages.notify(event)),
    onConnection: ({ state }) => {
      // Outcomes while it was closed were not pushed.
      if (state === "open") sender.lookUpAll(messages.toLookUp(name));
      queueMicrotask(showConnections);
    },
  });
  sessions.set(name, { intake, denied: false });
  intake.connect();
  return name;
}

async function mint(name) {
  const newToken = async () => (await call(key, "POST", "token", { owner: name })).token;
  const first = await newToken();
  return begin(name, (denied) => (denied ? newToken() : first));
}

/** A session for each of these owners; those that cannot have one are named in the error. */
async function ensureSessions(names) {
  for (const name of names) {
    if (sessions.has(name)) continue;
    if (!canMint) throw new Error(`There is no token${name ? ` of ${name}` : ""}: paste one under "Token", above.`);
    await mint(name);
  }
}

const STATE_TEXTS = {
  connecting: () => "connecting …",
  open: () => "notifications on",
  waiting: ({ retryAt }) => `reconnecting in ${Math.max(Math.ceil((retryAt - performance.now()) / 1000), 0)} s`,
  denied: () => "token expired, or not accepted",
  closed: () => "closed",
};

function showConnections() {
  const items = [...sessions].map(([name, { intake, denied }]) => {
    const state = denied ? "denied" : intake.connection.state;
    return { name, state, text: STATE_TEXTS[state](intake.connection) };
  });
  const box = byId("connections");
  while (box.children.length > items.length) box.lastChild.remove();
  items.forEach(({ name, state, text }, place) => {
    const item =
      box.children[place] ?? box.appendChild(element("li", {}, element("i"), element("b"), element("span")));
    item.className = state;
    setText(item.children[1], name);
    setText(item.children[2], text);
  });
  const bad = items.find(({ state }) => state === "denied");
  const banner = byId("banner");
  if (bad) {
    const advice = canMint ? "" : ' Paste a new one under "Token".';
    setText(
      byId("banner-text") ?? banner.appendChild(element("span", { id: "banner-text" })),
      `${bad.name}: ${bad.text}. Nothing is notified, and requests get 401.${advice}`,
    );
    if (canMint && !byId("renew")) {
      const button = element("button", { type: "button", id: "renew" }, "Get a new token");
      button.addEventListener("click", () => renewAll());
      banner.append(" ", button);
    }
  }
  banner.hidden = !bad;
}

async function renewAll() {
  const isDenied = ({ intake, denied }) => denied || intake.connection.state === "denied";
  try {
    for (const [name, session] of sessions) if (isDenied(session)) await mint(name);
    announce("The token is new.");
  } catch (error) {
    announce(error.message);
  }
}

/** A token may be denied before its time: its key was removed. */
function noteDenied(name, response) {
  const session = sessions.get(name);
  const denied = response.status === 401;
  if (session && session.denied !== denied) {
    session.denied = denied;
    showConnections();
  }
}

byId("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  const named = ownerOf(token);
  setText(byId("token-fault"), named ? "" : "This is no JSON Web Token with the claim sub.");
  if (!named) return;
  owner = begin(named, token);
  byId("burst-owners").value = owner;
  byId("token").value = "";
  byId("access").open = false;
  announce(`You are ${owner}.`);
});
byId("mint").addEventListener("click", async () => {
  await mint(owner ?? config.owner);
  byId("access").open = false;
});

// One message, or a bulk

const newId = () => `order-${crypto.randomUUID().slice(0, 8)}`;
/** What the examples start from: the message as a person wrote it, how it was sent, and its requests. */
let original = null;
/** The requests of which the responses are shown. */
let shownBulks = [];

const written = () => ({ id: byId("id").value, text: byId("payload").value, number: byId("one-bulk").valueAsNumber });

function fill(id, text, way = null) {
  byId("id").value = id;
  byId("payload").value = text;
  if (way) document.querySelector(`#one [name=way][value=${way}]`).checked = true;
  check();
  original = null;
}

/** What is chosen between the designs. */
function waysOf(name) {
  const chosen = document.querySelector(`[name=${name}]:checked`).value;
  return chosen === "both" ? WAYS : [chosen];
}

/** Ids belong to the owner, not to a design: sent by both, one message would be the other's duplicate. */
const idFor = (id, way, ways) => id + (ways.length > 1 && way === "queue" ? "-q" : "");

function check() {
  const { id, text, number } = written();
  const fault = payloadFault(text);
  const through = waysOf("way").length > 1 ? `Through the queue: ${idFor(id, "queue", WAYS)}` : "Both designs share your ids.";
  show(
    "id-check",
    isLegalId(id) ? null : "Not legal: an id is 1 to 64 of A–Z a–z 0–9 _ -",
    number > 1 ? `${through} Ids end in -1 to -${number}.` : through,
  );
  show("payload-check", fault, `A JSON object of ${size(new TextEncoder().encode(text).length)}.`);
  function show(id, wrong, fine) {
    setText(byId(id), wrong ?? fine);
    byId(id).classList.toggle("fault", wrong !== null);
  }
}

/** Sends a message by the chosen designs, and resolves to the requests once each has a response. */
async function sendOne({ id, text, number }) {
  const ways = waysOf("way");
  if (!(await hasSession())) return [];
  const entries = (id) =>
    number === 1 ? [{ id, text }] : Array.from({ length: number }, (_, at) => ({ id: `${id}-${at + 1}`, text }));
  shownBulks = await Promise.all(ways.map((way) => sender.send(way, owner, entries(idFor(id, way, ways)))));
  showOutcomes();
  return shownBulks;
}

/** Whether there is a client of the owner; if not, the page says why. */
async function hasSession() {
  try {
    await ensureSessions([owner]);
    return true;
  } catch (error) {
    shownBulks = [];
    showResponses([element("p", { class: "fault" }, error.message)]);
    return false;
  }
}

function showResponses(parts) {
  byId("responses").replaceChildren(...parts);
}

/** What was sent last: the responses, and what became of them. */
function showOutcomes() {
  if (shownBulks.length === 0) return;
  showResponses(shownBulks.map((bulk) => outcomeView(bulk, (message) => details.open(message))));
}

const EXAMPLES = {
  same: {},
  other: { text: () => JSON.stringify({ item: "another", at: now() }) },
  invalid: { text: () => "[1, 2]" },
  illegal: { id: () => "not legal!" },
};

function sendOriginal() {
  original = { ...written(), way: waysOf("way").join() };
  original.sent = sendOne(original);
}

/** Each example starts from the message as it was written, which is settled before. */
async function tryExample({ id, text }) {
  if (!byId("one").reportValidity()) return;
  if (original?.way !== waysOf("way").join()) sendOriginal();
  const start = original;
  const sent = (await start.sent).flat();
  while (start === original && sent.some(isOpen)) await new Promise((resolve) => setTimeout(resolve, 50));
  byId("id").value = id?.() ?? start.id;
  byId("payload").value = text?.() ?? start.text;
  check();
  await sendOne(written());
}

byId("one").addEventListener("submit", (event) => {
  event.preventDefault();
  sendOriginal();
});
byId("one").addEventListener("input", () => {
  original = null;
  check();
});
byId("new-id").addEventListener("click", () => fill(newId(), byId("payload").value));
byId("look-up").addEventListener("click", async () => {
  if (!(await hasSession())) return;
  const response = await sender.get(owner, `/messages/${encodeURIComponent(byId("id").value)}`);
  shownBulks = [];
  showResponses([element("div", {}, element("h3", {}, "The message under this id"), responseView(response))]);
});
for (const button of document.querySelectorAll("[data-example]"))
  button.addEventListener("click", () => tryExample(EXAMPLES[button.dataset.example]));

// A burst

/** Begins a burst as the form says, with `plan` filled in first. Rejects if an owner has no token. */
async function startBurst(plan = {}) {
  for (const [name, value] of Object.entries(plan)) byId(`burst-${name}`).value = value;
  const owners = [
    ...new Set(
      byId("burst-owners")
        .value.split(/[\s,]+/)
        .filter(Boolean),
    ),
  ];
  await ensureSessions(owners);
  burst?.stop();
  const [number, rate, bulk, bytes] = ["number", "rate", "bulk", "bytes"].map(
    (name) => byId(`burst-${name}`).valueAsNumber,
  );
  const retry = byId("burst-retry").checked;
  return (burst = new Burst({ ways: waysOf("burst-way"), number, rate, bulk, bytes, retry, owners }, sender));
}

byId("burst").addEventListener("submit", (event) => {
  event.preventDefault();
  startBurst().catch((error) => setText(byId("burst-state"), error.message));
});
byId("burst-stop").addEventListener("click", () => burst?.stop());

/** What the guided demo sends is what the form says, so that a person can go on from there. */
async function startDemo(plan) {
  byId("burst").parentElement.open = true;
  document.querySelector("[name=burst-way][value=both]").checked = true;
  byId("burst-retry").checked = false;
  return startBurst({ ...plan, bytes: 200, owners: byId("burst-owners").value || owner || "" });
}

function showBurst() {
  if (!burst) return;
  const { offered, total, sending } = burst;
  const responded = burst.messages.length;
  byId("burst-progress").value = offered / total;
  byId("burst-stop").disabled = !sending;
  const state = sending ? "sending" : responded < offered ? "waiting" : offered < total ? "stopped" : "done";
  const text = `${count(offered)} of ${count(total)} due, ${count(responded)} with a response: ${state}.`;
  setText(byId("burst-state"), text);
  if (state === "done" && !burst.announced) {
    burst.announced = true;
    announce(`The burst is done: ${text}`);
  }
}

// The list

byId("filter-status").append(...STATUSES.map((status) => element("option", { value: status }, status)));
let shownVersion = -1;
for (const name of ["filter-id", "filter-status", "filter-way"]) {
  byId(name).addEventListener("input", () => (shownVersion = -1));
}

function showList() {
  const id = byId("filter-id").value.toLowerCase();
  const status = byId("filter-status").value;
  const way = byId("filter-way").value;
  const isShown = (message) =>
    (!id || message.id.toLowerCase().includes(id)) &&
    (!status || message.status === status) &&
    (!way || message.way === way);
  const shown = (id || status || way ? messages.all.filter(isShown) : messages.all).toReversed();
  list.show(shown);
  setText(byId("shown"), shownText(shown.length, messages.all.length));
}

byId("download").addEventListener("click", () => {
  const url = URL.createObjectURL(
    new Blob([JSON.stringify(messages.record(), null, 1)], { type: "application/json" }),
  );
  element("a", {
    href: url,
    download: `intake-console-${new Date().toISOString().replaceAll(":", "-")}.json`,
  }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
});

// What changes by itself

let second = 0;
function frame() {
  if (messages.version !== shownVersion) {
    shownVersion = messages.version;
    flow.showCounts();
    showList();
    showOutcomes();
    details.update();
  }
  showBurst();
  const current = Math.floor(now() / 1000);
  if (current !== second) {
    second = current;
    messages.sample();
    flow.showCharts();
    showConnections();
  }
}
// A few times a second is enough to read, and leaves the time for sending.
setInterval(() => requestAnimationFrame(frame), 100);
setInterval(() => [...sessions.keys()].forEach((name) => sender.lookUpOverdue(name)), LOOK_UP_INTERVAL_MS);

// The beginning

setText(byId("stack"), config.stack);
document.title = `Intake – ${config.stack}`;
setText(byId("access-help"), config.tokenHelp);
byId("mint").hidden = !canMint;
fill(newId(), JSON.stringify({ item: "book" }));
const operator = config.operator && key !== null ? new Operator(messages, key, reasonOf) : null;
const withoutKey =
  "This page can neither send nor operate: it lacks its key. Open the whole address that the terminal shows, with its end #key=….";
const advice = key === null && config.needsKey ? withoutKey : config.advice;
setText(byId("advice"), advice ?? "");
byId("advice").hidden = !advice;
if (canMint) owner = await mint(config.owner);
else byId("access").open = true;
byId("burst-owners").value = owner ?? "";
new Guide({
  operator,
  start: startDemo,
  complete: async (sent) => {
    for (const message of sent) if (message.status === "stored" && message.storedAt === null) await sender.lookUp(message);
  },
});
document.body.dataset.ready = "true";
// For whoever wants to look closer, and for the tests.
window.intake = { messages, sessions };
