// One message: the request, the response, the outcome, and when.

import { curl } from "./api.js";
import { byId, clock, duration, element } from "./dom.js";
import { WAY_NAMES } from "./messages.js";
import { requestOf } from "./sending.js";

/** A body with line breaks, if it is JSON. */
const pretty = ({ json, text }) => (json === null ? text : JSON.stringify(json, null, 2));

const code = (text) => element("pre", { tabIndex: 0 }, text);

/** A response as it is: status, the headers that matter, body. */
export function responseView(response) {
  if (!response) return element("p", {}, "No response yet.");
  const { status, headers, reason } = response;
  const shown = ["retry-after", "x-amz-apigw-id"].filter((name) => headers[name]);
  const head = [status ? `HTTP ${status}` : `No response: ${reason}`, ...shown.map((name) => `${name}: ${headers[name]}`)];
  return code(`${head.join("\n")}\n\n${pretty(response) || "(no body)"}`);
}

function copyButton(name, text) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser did not allow it";
    }
    setTimeout(() => (button.textContent = name), 2000);
  });
  return button;
}

/** The responses to a request, and what its messages ended as. */
export function outcomeView(bulk, open) {
  const [message] = bulk;
  const { attempts, way, dueAt } = message;
  const statuses = [...new Set(bulk.map(({ status }) => status))];
  const counts = statuses.map((status) => {
    const number = bulk.filter((message) => message.status === status).length;
    return bulk.length === 1 ? status : `${number} ${status}`;
  });
  const button = element("button", { type: "button", class: "link" }, "Open");
  button.addEventListener("click", () => open(message));
  const head = attempts.at(-1)?.response?.status || "–";
  const at = Math.max(...bulk.map(({ notifiedAt }) => notifiedAt ?? 0));
  const known = way === "queue" ? bulk.filter(({ outcome }) => outcome) : [];
  const outcomes = known.map(({ id, status, outcome: { payload, ...rest } }) => ({ id, status, ...rest }));
  return element(
    "div",
    { class: way },
    element("h3", {}, `${WAY_NAMES[way]}: ${bulk.length === 1 ? message.id : `${bulk.length} messages`} `, button),
    element("p", {}, element("b", {}, `${head} → ${counts.join(", ")}`), at ? `, notified after ${duration(at - dueAt)}` : ""),
    head >= 200 && head < 300 ? code(pretty(attempts.at(-1).response)) : responseView(attempts.at(-1)?.response),
    outcomes.length ? code(JSON.stringify(bulk.length === 1 ? outcomes[0] : outcomes, null, 2)) : null,
  );
}

/** The times of a message, each with how long after it was due. */
function trace(message) {
  const steps = [{ at: message.dueAt, what: "due" }];
  const step = (at, what, kind) => at && steps.push({ at, what, kind });
  message.attempts.forEach(({ sentAt, respondedAt, response, retryAt }, place) => {
    step(sentAt, place === 0 ? "sent" : `sent again (request ${place + 1})`);
    const bad = response?.status < 300 ? "" : "bad";
    step(respondedAt, response?.status ? `response ${response.status}` : "no response", bad);
    if (retryAt) steps.at(-1).what += `, to be repeated in ${duration(retryAt - respondedAt)}`;
  });
  const isOwn = message.shownAt === message.storedAt;
  step(message.storedAt, isOwn ? "stored (clock of the stack)" : "stored, by an earlier request", "good");
  for (const { at, event } of message.events) step(at, `notified: ${event.type}`);
  for (const { at, response } of message.lookUps) step(at, `looked up: ${response.json?.status ?? response.status}`);
  steps.sort((one, other) => one.at - other.at);
  const start = message.dueAt;
  const total = Math.max(...steps.map(({ at }) => at - start), 1);
  return element(
    "ol",
    { class: "trace" },
    steps.map(({ at, what, kind }) =>
      element(
        "li",
        { class: kind ?? "" },
        element("time", {}, clock(at)),
        element("span", {}, what),
        element("span", { class: "offset" }, at < start ? "" : `+${duration(at - start)}`),
        element("meter", { min: 0, max: total, value: Math.max(at - start, 0), "aria-hidden": "true" }),
      ),
    ),
  );
}

export class Details {
  #dialog = byId("details");
  #message = null;
  #lookUp;
  #version = "";

  constructor(lookUp) {
    this.#lookUp = lookUp;
    this.#dialog.addEventListener("close", () => (this.#message = null));
    // A click beside it closes it.
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close());
  }

  open(message) {
    this.#message = message;
    this.#version = "";
    this.update();
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** Shows what changed meanwhile. */
  update() {
    const message = this.#message;
    if (!message) return;
    const { attempts, events, lookUps, status } = message;
    const version = [status, attempts.length, attempts.at(-1)?.respondedAt, events.length, lookUps.length].join();
    if (version === this.#version) return;
    this.#version = version;
    const place = document.activeElement?.dataset?.action;
    byId("details-title").textContent = `${message.id} – ${status}`;
    byId("details-body").replaceChildren(...this.#sections(message));
    // The buttons were replaced; the focus stays on the same.
    if (place) byId("details-body").querySelector(`[data-action="${place}"]`)?.focus();
  }

  #sections(message) {
    const action = (name, title, run) => {
      const button = element("button", { type: "button", "data-action": name }, title);
      button.addEventListener("click", run);
      return button;
    };
    const { method, path, body } = requestOf(message.bulk);
    const command = curl(method, path, body);
    const reason = message.outcome?.reason;
    const lookUp = message.lookUps.at(-1);
    const section = (title, ...content) => element("section", {}, element("h3", {}, title), content);
    return [
      element(
        "p",
        {},
        `${WAY_NAMES[message.way]}, owner ${message.owner}`,
        message.bulk.length > 1 ? `, one of ${message.bulk.length} in its request` : "",
        message.receipt ? `, receipt ${message.receipt}` : "",
      ),
      reason ? element("p", { class: "fault" }, reason) : null,
      section("Trace", trace(message)),
      element(
        "div",
        { class: "row" },
        message.statusPath ? action("look-up", "Look up", () => this.#lookUp(message)) : null,
        copyButton("Copy as curl", command),
        message.statusPath ? copyButton("Copy the look-up as curl", curl("GET", message.statusPath)) : null,
      ),
      section("Response", responseView(message.attempts.at(-1)?.response)),
      message.way === "queue"
        ? section(
            "Notifications (CloudEvents)",
            message.events.length
              ? code(message.events.map(({ event }) => JSON.stringify(event, null, 2)).join("\n"))
              : element("p", {}, "None yet. It is pushed over the WebSocket once there is an outcome."),
          )
        : null,
      lookUp ? section("Latest look-up", responseView(lookUp.response)) : null,
      section(
        "Payload, as it was sent",
        code(message.text.length > 4000 ? `${message.text.slice(0, 4000)}…` : message.text),
      ),
    ].filter((part) => part !== null);
  }
}
