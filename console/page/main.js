// The page: what the parts have to do with each other.

import { isLegalId, ownerOf, payloadFault } from "./api.js";
import { Details, responseView } from "./details.js";
import { announce, byId, count, element, now, setText, size } from "./dom.js";
import { Flow } from "./flow.js";
import { Intake } from "./intake.js";
import { List, shownText } from "./list.js";
import { Messages, STATUSES, WAYS, WAY_NAMES } from "./messages.js";
import { Operator, call } from "./operator.js";
import { Burst, Sender } from "./sending.js";

const LOOK_UP_INTERVAL_MS = 5_000;

// In the fragment, which no request and no log shows.
const key = new URLSearchParams(location.hash.slice(1)).get("key");
const messages = new Messages();
/** By owner: the client, and whether its token was denied. */
const sessions = new Map();
let owner = null;
let burst = null;

const config = await (await fetch("config.json", { cache: "no-store" })).json();
const canMint = config.canMint && key !== null;
const sender = new Sender(messages, config, (name) => sessions.get(name).intake, noteDenied);
const flow = new Flow(messages);
const details = new Details({
  lookUp: async (message) => sender.lookUp(message),
  edit: (message) => {
    fill(message.id, message.text, message.way);
    byId("payload").focus();
  },
});
const list = new List(byId("list"), (message) => details.open(message));

// Owners and their clients

/** Begins to send and to be notified as an owner. `token` is one, or a function that returns one. */
function begin(name, token) {
  sessions.get(name)?.intake.close();
  const intake = new Intake({
    url: config.httpUrls.queue[0],
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

// One message

const newId = () => `order-${crypto.randomUUID().slice(0, 8)}`;

function fill(id, text, way = null) {
  byId("id").value = id;
  byId("payload").value = text;
  if (way) document.querySelector(`#one [name=way][value=${way}]`).checked = true;
  check();
}

/** What is chosen between the designs. */
function waysOf(name) {
  const chosen = document.querySelector(`[name=${name}]:checked`).value;
  return chosen === "both" ? WAYS : [chosen];
}

/** Ids belong to the owner, not to a design: sent by both, one message would be the other's duplicate. */
const idFor = (way, ways) => byId("id").value + (ways.length > 1 && way === "queue" ? "-q" : "");

function check() {
  const id = byId("id").value;
  const text = byId("payload").value;
  const fault = payloadFault(text);
  show(
    "id-check",
    isLegalId(id) ? null : "Not legal: an id is 1 to 64 of A–Z a–z 0–9 _ -",
    waysOf("way").length > 1
      ? `Through the queue: ${idFor("queue", WAYS)}`
      : "Both designs share your ids: the same id is the same message.",
  );
  show("payload-check", fault, `A JSON object of ${size(new TextEncoder().encode(text).length)}.`);
  function show(id, wrong, fine) {
    setText(byId(id), wrong ?? fine);
    byId(id).classList.toggle("fault", wrong !== null);
  }
}

async function sendOne() {
  const ways = waysOf("way");
  const text = byId("payload").value;
  if (byId("id").value === "") return byId("id").focus();
  if (!(await hasSession())) return;
  const sent = await Promise.all(ways.map((way) => sender.send(way, owner, idFor(way, ways), text)));
  showResponses(
    sent.map((message) => {
      const { response } = message.attempts.at(-1);
      const button = element("button", { type: "button", class: "link" }, "Open");
      button.addEventListener("click", () => details.open(message));
      return element(
        "div",
        {},
        element("h3", {}, `${WAY_NAMES[message.way]}: ${message.id} `, button),
        responseView(response),
      );
    }),
  );
}

/** Whether there is a client of the owner; if not, the page says why. */
async function hasSession() {
  try {
    await ensureSessions([owner]);
    return true;
  } catch (error) {
    showResponses([element("p", { class: "fault" }, error.message)]);
    return false;
  }
}

function showResponses(parts) {
  byId("responses").replaceChildren(...parts);
}

const EXAMPLES = {
  same: () => {},
  other: () => (byId("payload").value = JSON.stringify({ item: "another", at: Date.now() })),
  invalid: () => (byId("payload").value = "[1, 2]"),
  illegal: () => (byId("id").value = "not legal!"),
};

byId("one").addEventListener("submit", (event) => {
  event.preventDefault();
  sendOne();
});
byId("one").addEventListener("input", check);
byId("new-id").addEventListener("click", () => fill(newId(), byId("payload").value));
byId("look-up").addEventListener("click", async () => {
  if (!(await hasSession())) return;
  const response = await sender.get(owner, `/messages/${encodeURIComponent(byId("id").value)}`);
  showResponses([element("div", {}, element("h3", {}, "The message under this id"), responseView(response))]);
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => {
    EXAMPLES[button.dataset.example]();
    check();
    sendOne();
  });
}

// A burst

byId("burst").addEventListener("submit", async (event) => {
  event.preventDefault();
  const owners = [
    ...new Set(
      byId("burst-owners")
        .value.split(/[\s,]+/)
        .filter(Boolean),
    ),
  ];
  try {
    await ensureSessions(owners);
  } catch (error) {
    return setText(byId("burst-state"), error.message);
  }
  burst?.stop();
  burst = new Burst(
    {
      ways: waysOf("burst-way"),
      number: byId("burst-number").valueAsNumber,
      rate: byId("burst-rate").valueAsNumber,
      bytes: byId("burst-bytes").valueAsNumber,
      retry: byId("burst-retry").checked,
      owners,
    },
    sender,
  );
});
byId("burst-stop").addEventListener("click", () => burst?.stop());

function showBurst() {
  if (!burst) return;
  const { offered, responded, total, sending } = burst;
  byId("burst-progress").value = offered / total;
  byId("burst-stop").disabled = !sending;
  const state = sending ? "sending" : responded < offered ? "waiting" : offered < total ? "stopped" : "done";
  const text = `${count(offered)} of ${count(total)} offered, ${count(responded)} with a response: ${state}.`;
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
if (config.operator && key !== null) {
  new Operator(messages, key);
} else {
  byId("operator-absent").hidden = false;
  setText(
    byId("operator-absent"),
    config.operator
      ? "Open the address that `cargo xtask up` printed: its end lets this page operate the stack."
      : config.operatorAbsent,
  );
}
if (canMint) owner = await mint(config.owner);
else byId("access").open = true;
byId("burst-owners").value = owner ?? "";
document.body.dataset.ready = "true";
// For whoever wants to look closer, and for the tests.
window.intake = { messages, sessions };
