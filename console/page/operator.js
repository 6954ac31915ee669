// What only the operator of a stack sees and does. It goes to the server of this page, which runs beside the stack.

import { announce, byId, count, duration, element, setText } from "./dom.js";

/** The stops of the slider, in write units a second; null is no limit. */
const CAPACITIES = [5, 10, 20, 50, 100, 200, 500, 1000, null];
const POLL_MS = 1000;

export class Operator {
  #key;
  #messages;
  #last = null;

  constructor(messages, key) {
    this.#messages = messages;
    this.#key = key;
    byId("operator").hidden = false;
    const slider = byId("capacity");
    const chosen = () => CAPACITIES[Number(slider.value)];
    slider.addEventListener("input", () => this.#showCapacity(chosen()));
    slider.addEventListener("change", () =>
      this.#do(
        "PUT",
        "capacity",
        { unitsPerSecond: chosen() },
        () => `The database has ${capacityText(chosen())} from now on.`,
      ),
    );
    byId("outage").addEventListener("click", () => {
      if (this.#last?.outageMs > 0)
        return this.#do("DELETE", "outage", undefined, () => "The database is available again.");
      const seconds = byId("outage-seconds").valueAsNumber;
      this.#do("PUT", "outage", { seconds }, () => `The database is unavailable for ${seconds} s.`);
    });
    byId("kill").addEventListener("click", () =>
      this.#do("POST", "kill-consumer", undefined, ({ killed, redeliverySeconds }) =>
        killed
          ? `Killed the consumer process ${killed}. What it held is redelivered within ${redeliverySeconds} s.`
          : "No consumer is running: they start when the queue has messages.",
      ),
    );
    byId("redrive").addEventListener("click", () =>
      this.#do(
        "POST",
        "redrive",
        undefined,
        ({ moved, left }) =>
          `Moved ${count(moved)} back into the queue${left ? `, left ${count(left)} that would fail again` : ""}.`,
      ),
    );
    byId("list-dead-letters").addEventListener("click", () => this.#listDeadLetters());
    this.#poll();
  }

  /** Counts that the charts and the flow show beside their own. */
  async #poll() {
    try {
      this.#show(await this.#call("GET", "state"));
    } catch (error) {
      this.#say(
        `The server of this page does not respond (${error.message}). Is \`cargo xtask up\` still running?`,
      );
    }
    setTimeout(() => this.#poll(), POLL_MS);
  }

  #show(state) {
    const before = this.#last;
    this.#last = state;
    setText(byId("queue-waiting"), count(state.queue.waiting));
    setText(byId("queue-delivered"), count(state.queue.delivered));
    setText(byId("queue-oldest"), duration(this.#messages.openOf("queue").oldestMs));
    setText(byId("dead-letters"), count(state.deadLetters));
    const seconds = before ? (state.at - before.at) / 1000 : 0;
    const rate = (number) => (seconds > 0 ? `${count(Math.round(number / seconds))}/s` : "–");
    setText(byId("database-requests"), rate(state.databaseRequests - (before?.databaseRequests ?? 0)));
    setText(byId("database-throttled"), rate(state.databaseThrottled - (before?.databaseThrottled ?? 0)));
    const slider = byId("capacity");
    if (document.activeElement !== slider) {
      const place = CAPACITIES.indexOf(state.unitsPerSecond);
      slider.value = place < 0 ? CAPACITIES.length - 1 : place;
      this.#showCapacity(state.unitsPerSecond);
    }
    const left = Math.ceil(state.outageMs / 1000);
    setText(byId("outage"), left > 0 ? `End the outage (${left} s)` : "Stop the database");
    document.body.classList.toggle("outage", left > 0);
  }

  #showCapacity(units) {
    setText(byId("capacity-value"), capacityText(units));
  }

  async #listDeadLetters() {
    await this.#do("GET", "dead-letters", undefined, (deadLetters) => {
      const row = ({ id, owner, ageMs, receipt }) =>
        element(
          "tr",
          {},
          [id ?? "–", owner ?? "–", duration(ageMs)].map((text) => element("td", {}, text)),
          element("td", {}, element("code", {}, receipt)),
        );
      byId("dead-letter-list").replaceChildren(
        deadLetters.length
          ? element(
              "table",
              {},
              element(
                "thead",
                {},
                element(
                  "tr",
                  {},
                  ["id", "owner", "age", "receipt"].map((name) => element("th", { scope: "col" }, name)),
                ),
              ),
              element("tbody", {}, deadLetters.map(row)),
            )
          : "",
      );
      return deadLetters.length ? `${count(deadLetters.length)} dead letters.` : "The dead-letter queue is empty.";
    });
  }

  async #do(method, path, body, text) {
    try {
      this.#say(text(await this.#call(method, path, body)));
    } catch (error) {
      this.#say(error.message);
    }
  }

  #say(text) {
    setText(byId("operator-state"), text);
    announce(text);
  }

  async #call(method, path, body) {
    return call(this.#key, method, `operator/${path}`, body);
  }
}

const capacityText = (units) => (units === null ? "no limit" : `${count(units)} writes/s`);

/** Asks the server of this page. Its errors are their message. */
export async function call(key, method, path, body) {
  const headers = { Authorization: `Bearer ${key}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text || `status ${response.status}`);
  return text ? JSON.parse(text) : null;
}
