// The way of a message through each design, with a count at each station; and the charts below.

import { Chart, roundUp } from "./chart.js";
import { byId, count, duration, element, setText } from "./dom.js";
import { SHOWN_SECONDS, WAYS, WAY_NAMES, percentile } from "./messages.js";

const NOT_ACCEPTED = [
  { unit: "not accepted", kind: "bad", of: (c) => c["not accepted"] },
  { unit: "of them in doubt", kind: "bad", of: (c) => c.inDoubt },
];
const CALLER = {
  name: "caller",
  unit: "sent",
  of: (c) => c.offered - c.waiting,
  sides: [{ unit: "waiting", of: (c) => c.waiting }],
};
const SETTLED_OTHERWISE = [
  { unit: "rejected", kind: "odd", of: (c) => c.rejected },
  { unit: "conflict", kind: "odd", of: (c) => c.conflict },
];
/** What an operator sees of a table. */
const TABLE = { name: "table", unit: "stored", of: (c) => c.inTable, operator: [["requests", "write attempts"]] };

/** Station: name, what is counted, the count. A side of a station is where messages leave the way. */
const FLOWS = {
  sync: [
    CALLER,
    { name: "API Gateway", unit: "in flight", of: (c) => c.sent, sides: NOT_ACCEPTED },
    { name: "sync-insert", unit: "accepted", of: (c) => c.accepted, sides: SETTLED_OTHERWISE },
    TABLE,
  ],
  queue: [
    CALLER,
    { name: "API Gateway", unit: "accepted", of: (c) => c.accepted, sides: NOT_ACCEPTED },
    {
      name: "SQS queue",
      unit: "no outcome yet",
      of: (c) => c.queued,
      sides: [{ unit: "failed", kind: "bad", of: (c) => c.failed }],
      operator: [
        ["waiting", "in queue"],
        ["delivered", "in delivery"],
      ],
    },
    {
      name: "queue-consumer",
      unit: "settled",
      of: (c) => c.accepted - c.queued,
      sides: [...SETTLED_OTHERWISE, { unit: "notified", of: (c) => c.notified }],
    },
    TABLE,
  ],
};

const rate = (value) => `${value < 10 && value % 1 ? value.toFixed(1) : count(Math.round(value))}/s`;
const number = (value) => count(Math.round(value));
const times = (of) => [
  { name: "p50", kind: "line", look: "design", of: (numbers) => percentile(of(numbers), 0.5) },
  { name: "p99", kind: "line", look: "design faint", of: (numbers) => percentile(of(numbers), 0.99) },
];

/** `of`: the value of a way in a column. */
const CHARTS = [
  {
    title: "Messages a second",
    format: rate,
    series: [
      { name: "stored", kind: "area", look: "design", of: ({ stored }) => stored },
      { name: "offered", kind: "line", look: "plain", of: ({ offered }) => offered },
      { name: "capacity", kind: "line", look: "limit", of: (_, { capacity }) => capacity },
    ],
  },
  {
    title: "Responses a second",
    format: rate,
    series: [
      { name: "accepted", kind: "bar", look: "design", of: ({ accepted }) => accepted },
      { name: "4xx", kind: "bar", look: "bad faint", of: ({ notAccepted }) => notAccepted },
      { name: "in doubt", kind: "bar", look: "bad", of: ({ inDoubt }) => inDoubt },
    ],
  },
  {
    title: "Without an outcome",
    format: number,
    series: [{ name: "messages", kind: "area", look: "design", of: ({ open }) => open }],
  },
  { title: "Time to response", format: duration, series: times(({ responseMs }) => responseMs) },
  { title: "Time to stored", format: duration, series: times(({ storedMs }) => storedMs) },
];

export class Flow {
  #messages;
  #stations = [];
  #charts = [];

  constructor(messages) {
    this.#messages = messages;
    for (const way of WAYS) {
      const section = byId(`way-${way}`);
      section.querySelector(".flow").append(...FLOWS[way].map((station) => this.#station(way, station)));
    }
    this.#charts = CHARTS.map(({ title, format, series }, index) =>
      WAYS.map((way, place) => {
        const figure = element("figure", { class: way });
        // On a narrow screen the two designs stand below each other, chart by chart.
        figure.style.order = 2 * index + place;
        byId(`way-${way}`).querySelector(".charts").append(figure);
        const ofWay = series.map((one) => ({ ...one, of: (column) => one.of(column[way], column) }));
        return new Chart(figure, { title, way: WAY_NAMES[way], format, series: ofWay, lines: index === 0 ? 2 : 0 });
      }),
    );
    const history = byId("history");
    history.min = 1 - SHOWN_SECONDS;
    history.addEventListener("input", () => this.#showSecond(history));
  }

  showCounts() {
    for (const { target, value } of this.#stations) {
      const number = value();
      setText(target, count(number));
      target.parentElement.classList.toggle("none", number === 0);
    }
  }

  showCharts() {
    const columns = this.#messages.columns();
    for (const pair of this.#charts) {
      // One scale for both designs: what looks higher is higher.
      const max = roundUp(Math.max(...pair.map((chart) => Chart.peak(chart.series, columns))));
      for (const chart of pair) chart.show(columns, max, this.#messages.marks);
    }
  }

  /** The charts by keyboard, or by a screen reader. */
  #showSecond(history) {
    const ago = -history.valueAsNumber;
    Chart.moveCursor(ago === 0 ? null : SHOWN_SECONDS - 1 - ago);
    const when = ago === 0 ? "now" : `${ago} s ago`;
    const texts = this.#charts.flatMap((pair) =>
      pair.map((chart, place) => `${WAY_NAMES[WAYS[place]]}, ${chart.title}: ${chart.text}`),
    );
    setText(byId("history-value"), when);
    history.setAttribute("aria-valuetext", `${when}. ${texts.join(". ")}`);
  }

  #station(way, { name, unit, of: value, sides = [], operator = [] }) {
    const counts = this.#messages.counts[way];
    const figure = (unit, kind, value) => {
      const target = element("b", { "data-count": `${way} ${unit}` }, "0");
      this.#stations.push({ target, value: () => value(counts) });
      return element("span", { class: `figure ${kind}` }, target, ` ${unit}`);
    };
    const exits = sides.map(({ unit, kind = "", of: value }) => figure(unit, `side ${kind}`, value));
    // Only a local stack has these.
    const seen = operator.map(([id, unit]) =>
      element("span", { class: "figure side operated" }, element("b", { id: `${way}-${id}` }, "–"), ` ${unit}`),
    );
    return element("li", {}, element("span", { class: "name" }, name), figure(unit, "", value), exits, seen);
  }
}
