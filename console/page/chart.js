// Charts over the last minutes, in SVG. All of them share one time axis, its marks, and one cursor.

import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 76;
const MARGIN = { top: 8, right: 6, bottom: 16, left: 46 };
/** A label of the time axis every so many seconds; a narrow chart has room for half of them. */
const TICK_SECONDS = 30;
const NARROW = 300;
/** About how wide a letter of a mark is, and how high a line. */
const LETTER = { width: 6.2, height: 12 };

const charts = new Set();
/** The index under the cursor, in all charts; null if there is none. */
let cursor = null;

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The next round number, at least 2. Its half, which is a label too, is a whole number. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

export class Chart {
  #series;
  #format;
  #canvas;
  #values;
  #columns = [];
  #marks = [];
  #max = 1;
  /** The lines for texts of marks, and the space above the plot that they are in. */
  #lines;
  #top;

  /**
   * `series`: name, look (a class of the style sheet) and kind (`line`, `area`, or `bar`: bars stand on each other),
   * and `of`, a column's value. `format`: a value as text, with its unit. `lines`: how many lines the texts of marks have.
   */
  constructor(figure, { title, way, series, format, lines }) {
    this.title = title;
    this.#lines = lines;
    this.#top = MARGIN.top + lines * LETTER.height;
    this.height = HEIGHT + lines * LETTER.height;
    this.#series = series;
    this.#format = format;
    this.#canvas = svg("svg", { "aria-hidden": "true", height: this.height });
    this.#values = series.map(({ name, look }) => {
      const value = element("b");
      return { value, entry: element("span", { class: `key ${look}` }, `${name} `, value) };
    });
    // Where the designs stand below each other, the name of one is what tells them apart.
    const heading = element("strong", {}, title, element("em", {}, ` ${way}`));
    figure.append(element("figcaption", {}, heading, ...this.#values.map(({ entry }) => entry)), this.#canvas);
    // The latest values beside the names are the text of the picture.
    figure.setAttribute("role", "group");
    figure.setAttribute("aria-label", `${title}, ${way}`);
    new ResizeObserver(() => this.#draw()).observe(figure);
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => Chart.moveCursor(null));
    charts.add(this);
  }

  /** The largest value, or the largest pile of bars. */
  static peak(series, columns) {
    const peaks = columns.map((column) => {
      const values = series.map(({ kind, of }) => ({ kind, value: of(column) ?? 0 }));
      const bars = values.filter(({ kind }) => kind === "bar").reduce((sum, { value }) => sum + value, 0);
      return Math.max(bars, ...values.map(({ value }) => value));
    });
    return Math.max(0, ...peaks);
  }

  get series() {
    return this.#series;
  }

  /** The values under the cursor, in words. */
  get text() {
    return this.#values.map(({ entry }) => entry.textContent).join(", ");
  }

  /** Shows columns, one a second, the last one just complete; values up to `max`; and marks (`at` and `text`). */
  show(columns, max, marks) {
    this.#columns = columns;
    this.#max = max;
    this.#marks = marks.filter(({ at }) => at >= columns[0].second * 1000);
    this.#draw();
  }

  #x(place) {
    const { left, right } = MARGIN;
    return left + ((this.width - left - right) * place) / Math.max(this.#columns.length - 1, 1);
  }

  #y(value) {
    const bottom = this.height - MARGIN.bottom;
    return bottom - ((bottom - this.#top) * Math.min(value, this.#max)) / this.#max;
  }

  #draw() {
    this.width = this.#canvas.clientWidth;
    if (!this.width || this.#columns.length === 0) return;
    this.#canvas.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    const piles = new Array(this.#columns.length).fill(0);
    const shapes = this.#series.map((series) => this.#shape(series, piles));
    this.#canvas.replaceChildren(...this.#axes(), ...shapes.flat(), ...this.#events(), ...this.#line());
    this.#label();
  }

  #axes() {
    const { left, right } = MARGIN;
    const parts = [];
    for (const value of [0, this.#max / 2, this.#max]) {
      const y = this.#y(value);
      parts.push(svg("line", { class: "grid", x1: left, x2: this.width - right, y1: y, y2: y }));
      parts.push(svg("text", { x: left - 4, y: y + 3, "text-anchor": "end" }, this.#format(value)));
    }
    const last = this.#columns.length - 1;
    for (let ago = 0; ago <= last; ago += this.width < NARROW ? 2 * TICK_SECONDS : TICK_SECONDS) {
      const at = { x: this.#x(last - ago), y: this.height - 3, "text-anchor": ago === 0 ? "end" : "middle" };
      parts.push(svg("text", at, ago === 0 ? "now" : `−${ago} s`));
    }
    return parts;
  }

  #shape({ kind, look, of }, piles) {
    if (kind === "bar") {
      const width = Math.max((this.#x(1) - this.#x(0)) * 0.8, 1);
      const path = this.#columns.map((column, at) => {
        const value = of(column) ?? 0;
        if (value === 0) return "";
        const [low, high] = [this.#y(piles[at]), this.#y((piles[at] += value))];
        return `M${this.#x(at) - width / 2} ${low}V${high}h${width}V${low}z`;
      });
      return [svg("path", { class: `bar ${look}`, d: path.join("") })];
    }
    // A gap where there is no value.
    const pieces = [];
    let piece = [];
    this.#columns.forEach((column, at) => {
      const value = of(column);
      if (value === null) piece = [];
      else {
        if (piece.length === 0) pieces.push(piece);
        piece.push([this.#x(at), this.#y(value)]);
      }
    });
    const line = ([first, ...rest]) =>
      rest.length ? `M${first}${rest.map((point) => `L${point}`).join("")}` : `M${first}h3`;
    const shapes = [svg("path", { class: `line ${look}`, d: pieces.map(line).join("") })];
    if (kind === "area") {
      const base = this.#y(0);
      const area = pieces.map((piece) => `${line(piece)}V${base}H${piece[0][0]}z`);
      shapes.unshift(svg("path", { class: `area ${look}`, d: area.join("") }));
    }
    return shapes;
  }

  /** A line for each mark; above it its text where there is room, and left of it at the right end. */
  #events() {
    // Where the last text of each line ends.
    const ends = new Array(this.#lines).fill(0);
    return this.#marks.flatMap(({ at, text }) => {
      const x = this.#x(Math.min(at / 1000 - this.#columns[0].second, this.#columns.length - 1));
      const rule = this.#rule("mark", x);
      const width = text.length * LETTER.width;
      const start = x + width + LETTER.width > this.width ? x - 3 - width : x + 3;
      const line = ends.findIndex((end) => end <= start);
      if (line < 0) return [rule];
      ends[line] = start + width + LETTER.width;
      rule.setAttribute("y1", line * LETTER.height + 2);
      return [rule, svg("text", { class: "mark", x: start, y: (line + 1) * LETTER.height - 2 }, text)];
    });
  }

  #line() {
    return cursor === null ? [] : [this.#rule("cursor", this.#x(cursor))];
  }

  #rule(look, x) {
    return svg("line", { class: look, x1: x, x2: x, y1: this.#top, y2: this.height - MARGIN.bottom });
  }

  #label() {
    const column = this.#columns[cursor ?? this.#columns.length - 1];
    this.#series.forEach(({ of }, place) => {
      const value = of(column);
      const text = value === null ? "–" : this.#format(value);
      const target = this.#values[place].value;
      if (target.textContent !== text) target.textContent = text;
    });
  }

  #point(event) {
    const last = this.#columns.length - 1;
    const share = (event.offsetX - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    Chart.moveCursor(Math.min(Math.max(Math.round(share * last), 0), last));
  }

  /** Shows the values at an index of the columns in all charts; with null, the latest. */
  static moveCursor(index) {
    cursor = index;
    for (const chart of charts) chart.#draw();
  }
}
