// The guided demo: three loads through both designs, each with what to watch before it and what it showed after it.

import { announce, byId, count, duration, element, now } from "./dom.js";
import { WAYS, isOpen, percentile } from "./messages.js";

/** So long a demo takes at most; what is still open then is counted. */
const LIMIT_MS = 58_000;
const CAPACITY = 10;
const LABELS = { sync: "*Synchronous*", queue: "*Queue*" };
const OUTAGE = { afterMs: 5_000, seconds: 10 };

const DEMOS = {
  even: { number: 150, rate: 10, capacity: null },
  // It takes four times as long to store what four times the capacity sends.
  burst: { number: 12 * 4 * CAPACITY, rate: 4 * CAPACITY, capacity: CAPACITY },
  outage: { number: 200, rate: 10, capacity: null, outage: OUTAGE },
};

const of = (number, total) => (number === total ? `all ${count(total)}` : `${count(number)} of ${count(total)}`);

/** What became of the messages of a design, in figures. Times are counted from when a message was due. */
function figuresOf(messages, way) {
  const own = messages.filter((message) => message.way === way);
  const having = (status) => own.filter((message) => message.status === status);
  const times = (name) => own.filter((message) => message[name] !== null).map((message) => message[name] - message.dueAt);
  const notAccepted = having("not accepted");
  return {
    offered: own.length,
    accepted: own.filter(({ respondedAt }) => respondedAt !== null).length - notAccepted.length,
    notAccepted: notAccepted.length,
    answers: [...new Set(notAccepted.map(({ attempts }) => answerOf(attempts.at(-1).response)))].join(" or "),
    stored: having("stored").length,
    failed: having("failed").length,
    open: own.filter(isOpen).length,
    responseMs: percentile(times("respondedAt"), 0.5),
    notifiedMs: percentile(times("notifiedAt"), 0.5),
    longestMs: percentile(times("storedAt"), 1),
  };
}

/** What the caller of a message is told that is not accepted. In a bulk, others may be. */
const answerOf = ({ status }) => (status === 0 ? "no response" : status < 300 ? "“unavailable”" : status);

/** While messages are sent, and what came of it. Stars enclose what is bold. */
function progress({ offered, accepted, notAccepted, stored }, total) {
  return `${count(offered)} of ${count(total)} due: *${count(accepted)} accepted*, ${count(notAccepted)} not accepted, ${count(stored)} stored.`;
}

function result({ offered, accepted, notAccepted, answers, stored, failed, open, responseMs, notifiedMs, longestMs }) {
  const within = `each within *${duration(longestMs)}*`;
  const parts =
    stored === accepted
      ? [`stored *${of(stored, offered)}*`, within]
      : [`accepted *${of(accepted, offered)}*`, `stored ${count(stored)}`, within];
  if (failed > 0) parts.push(`${count(failed)} are dead letters`);
  if (open > 0) parts.push(`${count(open)} still wait`);
  const again = notAccepted > 0 ? `; *${count(notAccepted)}* got ${answers} (not confirmed: send again)` : "";
  const notified = notifiedMs === null ? "" : ` (“queued”), notification (“stored”) ${duration(notifiedMs)}`;
  return `${parts.join(", ")}${again}. Median response ${duration(responseMs)}${notified}.`;
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

  async #run({ number, rate, capacity, outage }, card) {
    if (!byId("guide-bulk").reportValidity()) return;
    const { operator, start, complete } = this.#page;
    const show = (text) =>
      WAYS.forEach((way) => {
        const parts = text(way).split("*").map((part, at) => (at % 2 ? element("b", {}, part) : part));
        card.querySelector(`.${way}`).replaceChildren(...parts);
      });
    this.#cards.forEach((card) => (card.querySelector("button").disabled = true));
    card.classList.add("running");
    try {
      if (operator?.isOut) await operator.endOutage();
      await operator?.limit(capacity);
      const burst = await start({ number, rate, bulk: byId("guide-bulk").valueAsNumber });
      const stop = outage && setTimeout(() => operator.stopDatabase(outage.seconds), outage.afterMs);
      const figures = (way) => figuresOf(burst.messages, way);
      const isDone = () => !burst.sending && !burst.messages.some(isOpen);
      while (!isDone() && now() - burst.startedAt < LIMIT_MS) {
        show((way) => `${LABELS[way]} ${progress(figures(way), number)}`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      clearTimeout(stop);
      await complete(burst.messages);
      show((way) => `${LABELS[way]} ${result(figures(way))}`);
      await operator?.limit(null);
    } catch (error) {
      show((way) => (way === "sync" ? error.message : ""));
    }
    card.classList.remove("running");
    announce(WAYS.map((way) => card.querySelector(`.${way}`).textContent).join(" "));
    this.#enable();
  }
}
