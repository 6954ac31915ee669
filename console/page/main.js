// The page: what the parts have to do with each other.

import { ownerOf } from "./api.js";
import { Details, outcomeView, responseView } from "./details.js";
import { announce, byId, count, element, now, setText } from "./dom.js";
import { Flow } from "./flow.js";
import { Guide } from "./guide.js";
import { Intake } from "./intake.js";
import { List } from "./list.js";
import { Messages, WAYS, isOpen } from "./messages.js";
import { Operator, call } from "./operator.js";
import { Burst, Sender } from "./sending.js";

const LOOK_UP_INTERVAL_MS = 5_000;

// In the fragment, which no request and no log shows.
const key = new URLSearchParams(location.hash.slice(1)).get("key");
/** The clients, by owner. */
const sessions = new Map();
let owner = null;
let burst = null;
/** What the page says at its top while all is well. */
let advice = null;

const config = await (await fetch("config.json", { cache: "no-store" })).json();
const messages = new Messages(config.clockToleranceMs);
const canMint = config.canMint && key !== null;
const sender = new Sender(messages, config, (name) => sessions.get(name));
const flow = new Flow(messages);
const details = new Details((message) => sender.lookUp(message));
const list = new List(messages, (message) => details.open(message));

const tokenOf = async (name) => (await call(key, "token", { owner: name })).token;

/** Why a message failed, as its owner learns it. */
async function reasonOf(name, id, receipt) {
  // Without a socket: it may be any owner.
  const intake = sessions.get(name) ?? new Intake({ url: config.httpUrl, token: await tokenOf(name) });
  const path = receipt.startsWith("bulk-") ? `/receipts/${receipt}` : `/messages/${id}?receipt=${receipt}`;
  const found = (await intake.attempt("GET", path)).json;
  return [found, ...(found?.outcomes ?? [])].find((one) => one?.reason)?.reason;
}

// Owners and their clients

/** Begins to send and to be notified as an owner. `token` is one, or a function that returns one. */
function begin(name, token) {
  sessions.get(name)?.close();
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
  sessions.set(name, intake);
  intake.connect();
  return name;
}

async function mint(name) {
  const first = await tokenOf(name);
  return begin(name, (denied) => (denied ? tokenOf(name) : first));
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
  const items = [...sessions].map(([name, { connection }]) => {
    return { name, state: connection.state, text: STATE_TEXTS[connection.state](connection) };
  });
  const item = ({ name, state, text }) =>
    element("li", { class: state }, element("i"), element("b", {}, name), element("span", {}, text));
  byId("connections").replaceChildren(...items.map(item));
  const denied = items.find(({ state }) => state === "denied");
  advise(denied ? `${denied.name}: ${denied.text}. Requests get 401. Get or paste a new one under "Token".` : advice);
}

function advise(text) {
  setText(byId("advice"), text ?? "");
  byId("advice").hidden = !text;
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

/** What the examples start from: the message as a person wrote it, how it was sent, and its requests. */
let original = null;
/** The requests of which the responses are shown. */
let shownBulks = [];

const written = () => ({ id: byId("id").value, text: byId("payload").value, number: byId("one-bulk").valueAsNumber });

function renew() {
  byId("id").value = `order-${crypto.randomUUID().slice(0, 8)}`;
  original = null;
}

/** What is chosen between the designs. */
function waysOf(name) {
  const chosen = document.querySelector(`[name=${name}]:checked`).value;
  return chosen === "both" ? WAYS : [chosen];
}

/** Ids belong to the owner, not to a design: sent by both, one message would be the other's duplicate. */
const idFor = (id, way, ways) => id + (ways.length > 1 && way === "queue" ? "-q" : "");

/** Sends a message by the chosen designs, and resolves to the requests once each has a response. */
async function sendOne({ id, text, number }) {
  const ways = waysOf("way");
  if (!(await hasSession())) return [];
  const entries = (id) =>
    number === 1 ? [{ id, text }] : Array.from({ length: number }, (_, at) => ({ id: `${id}-${at + 1}`, text }));
  shownBulks = await Promise.all(ways.map((way) => sender.send(way, owner, entries(idFor(id, way, ways))).responded));
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
    byId("responses").replaceChildren(element("p", { class: "fault" }, error.message));
    return false;
  }
}

/** What was sent last: the responses, and what became of them. */
function showOutcomes() {
  const version = JSON.stringify(shownBulks.flat().map(({ number, status, notifiedAt }) => [number, status, notifiedAt]));
  if (shownBulks.length === 0 || shownBulks.version === version) return;
  shownBulks.version = version;
  byId("responses").replaceChildren(...shownBulks.map((bulk) => outcomeView(bulk, (message) => details.open(message))));
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
  await sendOne(written());
}

byId("one").addEventListener("submit", (event) => {
  event.preventDefault();
  sendOriginal();
});
byId("one").addEventListener("input", () => (original = null));
byId("new-id").addEventListener("click", renew);
byId("look-up").addEventListener("click", async () => {
  if (!(await hasSession())) return;
  const response = await sender.get(owner, `/messages/${encodeURIComponent(byId("id").value)}`);
  shownBulks = [];
  byId("responses").replaceChildren(element("h3", {}, "The message under this id"), responseView(response));
});
for (const button of document.querySelectorAll("[data-example]"))
  button.addEventListener("click", () => tryExample(EXAMPLES[button.dataset.example]));

// A burst

/** Begins a burst as the form says, with `plan` filled in first. Rejects if an owner has no token. */
async function startBurst(plan = {}) {
  for (const [name, value] of Object.entries(plan)) byId(`burst-${name}`).value = value;
  const owners = [...new Set(byId("burst-owners").value.split(/[\s,]+/).filter(Boolean))];
  await ensureSessions(owners);
  burst?.stop();
  const valueOf = (name) => byId(`burst-${name}`).valueAsNumber;
  const [number, rate, bulk, bytes] = ["number", "rate", "bulk", "bytes"].map(valueOf);
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
  const { total, sending, responded } = burst;
  const offered = burst.messages.length;
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

// What changes by itself

let second = 0;
let shownVersion = -1;
function frame() {
  if (messages.version !== shownVersion) {
    shownVersion = messages.version;
    flow.showCounts();
    list.show();
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
renew();
const operator = config.operator && key !== null ? new Operator(messages, key, reasonOf) : null;
const withoutKey =
  "This page can neither send nor operate: it lacks its key. Open the whole address that the terminal shows, with its end #key=….";
advice = key === null && config.needsKey ? withoutKey : config.advice;
advise(advice);
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
