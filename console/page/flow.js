// The way of a message through each design, with a count at each station; and the charts below.

import { Chart, roundUp } from "./chart.js";
import { byId, count, duration, element, setText } from "./dom.js";
import { WAYS, percentile } from "./messages.js";

/** Station: name, what is counted, the count. A side of a station is where messages leave the way. */
const FLOWS = {
  sync: [
    {
      name: "caller",
      unit: "sent",
      of: (c) => c.offered - c.waiting,
      sides: [{ unit: "waiting", of: (c) => c.waiting }],
    },
    {
      name: "API Gateway",
      unit: "in flight",
      of: (c) => c.sent,
      sides: [
        { unit: "error", kind: "bad", of: (c) => c.error },
        { unit: "no response", kind: "bad", of: (c) => c.unknown },
      ],
    },
    {
      name: "sync-insert",
      unit: "accepted",
      of: (c) => c.accepted,
      sides: [{ unit: "conflict", kind: "odd", of: (c) => c.conflict }],
    },
    { name: "table", unit: "stored", kind: "good", of: (c) => c.stored },
  ],
  queue: [
    {
      name: "caller",
      unit: "sent",
      of: (c) => c.offered - c.waiting,
      sides: [{ unit: "waiting", of: (c) => c.waiting }],
    },
    {
      name: "API Gateway",
      unit: "accepted",
      of: (c) => c.accepted,
      sides: [
        { unit: "error", kind: "bad", of: (c) => c.error },
        { unit: "no response", kind: "bad", of: (c) => c.unknown },
      ],
    },
    {
      name: "SQS queue",
      unit: "without an outcome",
      of: (c) => c.queued,
      sides: [{ unit: "dead-lettered", kind: "bad", of: (c) => c.failed }],
    },
    {
      name: "queue-consumer",
      unit: "with an outcome",
      of: (c) => c.accepted - c.queued,
      sides: [
        { unit: "rejected", kind: "odd", of: (c) => c.rejected },
        { unit: "conflict", kind: "odd", of: (c) => c.conflict },
      ],
    },
    { name: "table", unit: "stored", kind: "good", of: (c) => c.stored },
    { name: "WebSocket", unit: "notified", of: (c) => c.notified },
  ],
};

const of = (way, value) => (column) => value(column[way]);
const responses = (way, test) =>
  of(way, (numbers) => {
    const matching = Object.entries(numbers.responses).filter(([status]) => test(status));
    return matching.reduce((sum, [, number]) => sum + number, 0);
  });
const rate = (value) => `${value < 10 && value % 1 ? value.toFixed(1) : count(Math.round(value))}/s`;
const number = (value) => count(Math.round(value));

const CHARTS = [
  {
    title: "Messages a second",
    format: rate,
    series: (way) => [
      { name: "stored", kind: "area", of: of(way, (numbers) => numbers.stored) },
      { name: "accepted", kind: "line", of: of(way, (numbers) => numbers.accepted) },
      { name: "offered", kind: "line", of: of(way, (numbers) => numbers.offered) },
    ],
  },
  {
    title: "Responses a second, by status",
    format: rate,
    series: (way) => [
      { name: "2xx", kind: "bar", of: responses(way, (status) => status[0] === "2") },
      { name: "4xx", kind: "bar", of: responses(way, (status) => status[0] === "4" && status !== "429") },
      { name: "429", kind: "bar", of: responses(way, (status) => status === "429") },
      { name: "5xx", kind: "bar", of: responses(way, (status) => status[0] === "5") },
      { name: "none", kind: "bar", of: responses(way, (status) => status === "none") },
    ],
  },
  {
    title: "In flight: no outcome yet",
    format: number,
    series: (way) => [{ name: "messages", kind: "area", of: of(way, (numbers) => numbers.open) }],
  },
  {
    title: "Oldest in flight",
    format: duration,
    series: (way) => [{ name: "age", kind: "area", of: of(way, (numbers) => numbers.oldestMs) }],
  },
  {
    title: "Time to response",
    format: duration,
    series: (way) => [
      { name: "p50", kind: "line", of: of(way, (numbers) => percentile(numbers.responseMs, 0.5)) },
      { name: "p99", kind: "line", of: of(way, (numbers) => percentile(numbers.responseMs, 0.99)) },
    ],
  },
  {
    title: "Time to stored",
    format: duration,
    series: (way) => [
      { name: "p50", kind: "line", of: of(way, (numbers) => percentile(numbers.storedMs, 0.5)) },
      { name: "p99", kind: "line", of: of(way, (numbers) => percentile(numbers.storedMs, 0.99)) },
    ],
  },
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
    this.#charts = CHARTS.map(({ title, format, series }) =>
      WAYS.map((way) => {
        const figure = element("figure");
        byId(`way-${way}`).querySelector(".charts").append(figure);
        return new Chart(figure, { title, format, series: series(way) });
      }),
    );
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
      for (const chart of pair) chart.show(columns, max);
    }
  }

  #station(way, { name, unit, kind = "", of: value, sides = [] }) {
    const counts = this.#messages.counts[way];
    const figure = (unit, kind, value) => {
      const target = element("b", { "data-count": `${way} ${unit}` }, "0");
      this.#stations.push({ target, value: () => value(counts) });
      return element("span", { class: `figure ${kind}` }, target, ` ${unit}`);
    };
    const exits = sides.map(({ unit, kind = "", of: value }) => figure(unit, `side ${kind}`, value));
    return element("li", {}, element("span", { class: "name" }, name), figure(unit, kind, value), ...exits);
  }
}
