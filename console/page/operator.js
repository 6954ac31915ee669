// What only the operator of a stack sees and does. It goes to the server of this page, which runs beside the stack.

import { announce, byId, count, duration, element, now, setText } from "./dom.js";
import { WAYS } from "./messages.js";

/** The stops of the slider, in write units a second; null is no limit. */
const CAPACITIES = [5, 10, 20, 50, 100, 200, 500, 1000, null];
const POLL_MS = 1000;

const capacityText = (units) => (units === null ? "no limit" : `${count(units)} writes/s`);

export class Operator {
  #key;
  #messages;
  #reasonOf;
  #first = null;
  #last = null;

  /** `reasonOf` says why a dead letter failed. */
  constructor(messages, key, reasonOf) {
    this.#key = key;
    this.#messages = messages;
    this.#reasonOf = reasonOf;
    document.body.classList.add("operated");
    const slider = byId("capacity");
    const chosen = () => CAPACITIES[Number(slider.value)];
    slider.addEventListener("input", () => this.#showCapacity(chosen()));
    slider.addEventListener("change", () => this.limit(chosen()));
    byId("outage-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.isOut) this.endOutage();
      else this.stopDatabase(byId("outage-seconds").valueAsNumber);
    });
    byId("kill").addEventListener("click", () => this.#kill());
    byId("redrive").addEventListener("click", () => this.#redrive());
    byId("list-dead-letters").addEventListener("click", () => this.#listDeadLetters());
    this.#poll();
  }

  /** From now on, each design has a database of this capacity. */
  limit(unitsPerSecond) {
    const text = () => `Each design has a database with ${capacityText(unitsPerSecond)} from now on.`;
    return this.#do({ do: "limit", unitsPerSecond }, text);
  }

  stopDatabase(seconds) {
    return this.#do({ do: "stopDatabase", seconds }, () => `The database is unavailable for ${seconds} s.`);
  }

  get isOut() {
    return this.#last?.outageMs > 0;
  }

  endOutage() {
    return this.#do({ do: "endOutage" }, () => "The database is available again.");
  }

  #kill() {
    return this.#do({ do: "killConsumer" }, ({ killed, redeliverySeconds }) => {
      if (!killed) return "No consumer is running: they start when the queue has messages.";
      this.#messages.mark("consumer killed");
      return `Killed the consumer process ${killed}. What it held is redelivered within ${redeliverySeconds} s.`;
    });
  }

  async #redrive() {
    await this.#do({ do: "redrive" }, ({ moved, left }) => {
      this.#messages.mark("redriven");
      return `Moved ${count(moved)} back into the queue${left ? `, left ${count(left)} that would fail again` : ""}.`;
    });
    if (byId("dead-letter-list").firstChild) this.#fillList(await this.#call({ do: "deadLetters" }));
  }

  async #poll() {
    try {
      await this.#refresh();
    } catch (error) {
      this.#say(`The server of this page does not respond (${error.message}). Is \`cargo xtask up\` still running?`);
    }
    setTimeout(() => this.#poll(), POLL_MS);
  }

  async #refresh() {
    const state = await this.#call({ do: "state" });
    const before = this.#last ?? state;
    this.#first ??= state;
    this.#last = state;
    this.#messages.capacity = state.unitsPerSecond;
    if (state.unitsPerSecond !== before.unitsPerSecond) this.#messages.mark(capacityText(state.unitsPerSecond));
    const isOut = state.outageMs > 0;
    if (isOut !== before.outageMs > 0) this.#messages.mark(isOut ? "outage" : "back");
    for (const way of WAYS)
      setText(byId(`${way}-requests`), count(state.writeRequests[way] - this.#first.writeRequests[way]));
    setText(byId("queue-waiting"), count(state.queue.waiting));
    setText(byId("queue-delivered"), count(state.queue.delivered));
    setText(byId("dead-letters"), count(state.deadLetters));
    const slider = byId("capacity");
    if (document.activeElement !== slider) {
      const place = CAPACITIES.indexOf(state.unitsPerSecond);
      slider.value = place < 0 ? CAPACITIES.length - 1 : place;
      this.#showCapacity(state.unitsPerSecond);
    }
    setText(byId("outage"), isOut ? `End outage (${Math.ceil(state.outageMs / 1000)} s)` : "Stop the database");
    document.body.classList.toggle("outage", isOut);
  }

  #showCapacity(units) {
    setText(byId("capacity-value"), capacityText(units));
    byId("capacity").setAttribute("aria-valuetext", capacityText(units));
  }

  async #listDeadLetters() {
    await this.#do({ do: "deadLetters" }, (letters) => {
      this.#fillList(letters);
      return letters.length ? `${count(letters.length)} dead letters.` : "The dead-letter queue is empty.";
    });
  }

  #fillList(letters) {
    const cell = (text) => element("td", {}, text);
    const row = ({ id, owner, receivedAt, receipt, reason }) => {
      const why = cell(reason ?? "…");
      const say = (text) => setText(why, text ?? "unknown");
      if (!reason) this.#reasonOf(owner, id, receipt).then(say, () => say(null));
      const age = receivedAt ? duration(now() - Date.parse(receivedAt)) : "–";
      return element("tr", {}, cell(id ?? "many"), cell(owner ?? "–"), cell(age), why, cell(receipt));
    };
    const names = ["id", "owner", "age", "reason", "receipt"];
    const head = element("tr", {}, names.map((name) => element("th", { scope: "col" }, name)));
    byId("dead-letter-list").replaceChildren(
      letters.length ? element("table", {}, element("thead", {}, head), element("tbody", {}, letters.map(row))) : "",
    );
  }

  async #do(command, text) {
    try {
      this.#say(text(await this.#call(command)));
      await this.#refresh();
    } catch (error) {
      this.#say(error.message);
    }
  }

  #say(text) {
    setText(byId("operator-state"), text);
    announce(text);
  }

  async #call(command) {
    return call(this.#key, "operator", command);
  }
}

/** Asks the server of this page. Its errors are their message. */
export async function call(key, path, body) {
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), cache: "no-store" });
  if (!response.ok) throw new Error((await response.text()) || `status ${response.status}`);
  return response.json();
}
