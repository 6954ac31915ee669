// The guided demo: three loads through both designs, each with what to watch before it and what it showed after it.

import { announce, byId, count, duration, now, setText } from "./dom.js";
import { isOpen, percentile } from "./messages.js";

/** So long a demo takes at most; what is still open then is counted. */
const LIMIT_MS = 58_000;
const CAPACITY = 10;
const OUTAGE = { afterMs: 5_000, seconds: 10 };

const DEMOS = {
  even: { number: 150, rate: 10, capacity: null, after: afterEven },
  // It takes four times as long to store what four times the capacity sends.
  burst: { number: 12 * 4 * CAPACITY, rate: 4 * CAPACITY, capacity: CAPACITY, after: afterBurst },
  outage: { number: 200, rate: 10, capacity: null, outage: OUTAGE, after: afterOutage },
};

const of = (number, total) => (number === total ? `all ${count(total)}` : `${count(number)} of ${count(total)}`);

/** What became of the messages of a design, in figures. */
export function figuresOf(messages, way) {
  const own = messages.filter((message) => message.way === way);
  const having = (status) => own.filter((message) => message.status === status).length;
  const times = (name) => own.filter((message) => message[name] !== null).map((message) => message[name] - message.dueAt);
  const storedMs = times("storedAt");
  return {
    offered: own.length,
    stored: having("stored"),
    notAccepted: having("not accepted"),
    accepted: own.length - having("not accepted"),
    inDoubt: own.filter((message) => message.inDoubt).length,
    open: own.filter(isOpen).length,
    failed: having("failed"),
    responseMs: percentile(times("respondedAt"), 0.5),
    storedMs: percentile(storedMs, 0.5),
    longestMs: percentile(storedMs, 1),
    lastDueAt: Math.max(...own.map(({ dueAt }) => dueAt)),
    lastStoredAt: Math.max(...own.map(({ storedAt }) => storedAt ?? 0)),
  };
}

function afterEven({ sync, queue }) {
  const text = ({ stored, offered, responseMs, storedMs }, word) =>
    `stored ${of(stored, offered)}: half of the responses (“${word}”) within ${duration(responseMs)}, half of the ` +
    `messages within ${duration(storedMs)}.`;
  return `The synchronous design ${text(sync, "stored")} The queue ${text(queue, "queued")}${lost(sync, queue)}`;
}

function afterBurst({ sync, queue }) {
  const late = duration(Math.max(queue.lastStoredAt - queue.lastDueAt, 0));
  return `${callers(sync)} ${accepted(queue)}; the last waited ${duration(queue.longestMs)} and was stored ${late} after the burst.${lost(sync, queue)}`;
}

function afterOutage({ sync, queue }) {
  return `${callers(sync)} ${accepted(queue)}, without any caller’s doing; the last waited ${duration(queue.longestMs)}.${lost(sync, queue)}`;
}

function callers({ stored, offered, notAccepted, inDoubt }) {
  const doubt = inDoubt > 0 ? ", without knowing whether theirs are stored" : "";
  const again = notAccepted === 0 ? "no caller has to" : `the callers of ${count(notAccepted)} have to`;
  return `The synchronous design accepted and stored ${of(stored, offered)}; ${again} send again${doubt}.`;
}

function accepted({ accepted, stored, offered }) {
  return `The queue accepted ${of(accepted, offered)}${stored === accepted ? " and stored them" : `, stored ${count(stored)}`}`;
}

/** What was accepted has an outcome, or will have one. */
function lost(...designs) {
  const sum = (name) => designs.reduce((sum, figures) => sum + figures[name], 0);
  const [open, failed] = [sum("open"), sum("failed")];
  if (open > 0) return ` ${count(open)} still wait.`;
  return failed > 0 ? ` ${count(failed)} are dead letters.` : " Neither lost a message that it had accepted.";
}

export class Guide {
  #page;
  #cards = [...document.querySelectorAll("[data-demo]")];

  /**
   * `page`: the `operator`, if there is one; `start(plan)`, which begins a burst and returns it; and
   * `complete(messages)`, which looks up what is missing.
   */
  constructor(page) {
    this.#page = page;
    for (const card of this.#cards) {
      const demo = DEMOS[card.dataset.demo];
      card.querySelector("button").addEventListener("click", () => this.#run(demo, card));
    }
    this.#enable();
  }

  /** Without an operator's means, what needs them stays off. */
  #enable() {
    for (const card of this.#cards) {
      const { capacity, outage } = DEMOS[card.dataset.demo];
      card.querySelector("button").disabled = !this.#page.operator && Boolean(capacity || outage);
    }
  }

  async #run({ number, rate, capacity, outage, after }, card) {
    if (!byId("guide-bulk").reportValidity()) return;
    const { operator, start, complete } = this.#page;
    const [watch, result] = card.querySelectorAll("p");
    const say = (text) => setText(result, text);
    this.#cards.forEach((card) => (card.querySelector("button").disabled = true));
    watch.hidden = false;
    card.classList.add("running");
    try {
      if (operator?.isOut) await operator.endOutage();
      await operator?.limit(capacity);
      const burst = await start({ number, rate, bulk: byId("guide-bulk").valueAsNumber });
      const stop = outage && setTimeout(() => operator.stopDatabase(outage.seconds), outage.afterMs);
      const isDone = () => !burst.sending && burst.messages.length === burst.offered && !burst.messages.some(isOpen);
      while (!isDone() && now() - burst.startedAt < LIMIT_MS) {
        const open = burst.offered - burst.messages.filter((message) => !isOpen(message)).length;
        say(`${count(burst.offered)} of ${count(burst.total)} sent, ${count(open)} without an outcome.`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      clearTimeout(stop);
      await complete(burst.messages);
      say(after({ sync: figuresOf(burst.messages, "sync"), queue: figuresOf(burst.messages, "queue") }));
      watch.hidden = true;
      await operator?.limit(null);
    } catch (error) {
      say(error.message);
    }
    card.classList.remove("running");
    announce(result.textContent);
    this.#enable();
  }
}
