// The list of messages. Only the rows in view exist, so that thousands stay smooth.

import { clock, count, duration, element, setText } from "./dom.js";
import { WAY_NAMES } from "./messages.js";

/** Of the headings, too. */
const ROW_HEIGHT = 30;
const COLUMNS = ["id", "design", "status", "due", "response", "stored"];
/** Rows beyond each edge, so that scrolling shows no gaps. */
const SPARE_ROWS = 6;

export class List {
  #box;
  #space = element("div", { class: "space", role: "rowgroup" });
  #rows = new Map();
  #shown = [];
  #active = null;
  #onOpen;

  constructor(box, onOpen) {
    this.#box = box;
    this.#onOpen = onOpen;
    const head = COLUMNS.map((name) => element("span", { role: "columnheader" }, name));
    box.append(element("div", { role: "row", class: "columns", "aria-rowindex": 1 }, head), this.#space);
    box.addEventListener("scroll", () => this.#render());
    box.addEventListener("keydown", (event) => this.#press(event));
    // So that a screen reader has something to read, and the first row is where arrows begin.
    box.addEventListener("focus", () => this.#active === null && this.#shown.length > 0 && this.#activate(0));
    box.addEventListener("click", ({ target }) => {
      const row = target.closest(".space > *");
      if (row) this.#open(row.message);
    });
    new ResizeObserver(() => this.#render()).observe(box);
  }

  /** Shows messages, in this order. What is in view stays in place while others are added above. */
  show(messages) {
    const top = this.#box.scrollTop;
    const first = this.#shown[Math.floor(top / ROW_HEIGHT)];
    this.#shown = messages;
    this.#space.style.height = `${Math.max(messages.length, 1) * ROW_HEIGHT}px`;
    if (top > 0 && first) {
      const place = messages.indexOf(first);
      if (place >= 0) this.#box.scrollTop = place * ROW_HEIGHT + (top % ROW_HEIGHT);
    }
    this.#render();
  }

  #render() {
    const { scrollTop, clientHeight } = this.#box;
    const from = Math.max(Math.floor(scrollTop / ROW_HEIGHT) - SPARE_ROWS, 0);
    this.#box.setAttribute("aria-rowcount", this.#shown.length + 1);
    const to = Math.min(Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + SPARE_ROWS, this.#shown.length);
    const old = this.#rows;
    this.#rows = new Map();
    for (let place = from; place < to; place += 1) {
      const message = this.#shown[place];
      const row = old.get(message) ?? this.#row(message);
      old.delete(message);
      this.#rows.set(message, row);
      row.style.transform = `translateY(${place * ROW_HEIGHT}px)`;
      row.setAttribute("aria-rowindex", place + 2);
      this.#update(row, message);
    }
    for (const row of old.values()) row.remove();
    const active = this.#rows.get(this.#active);
    if (active) this.#box.setAttribute("aria-activedescendant", active.id);
    else this.#box.removeAttribute("aria-activedescendant");
  }

  #row(message) {
    const cells = COLUMNS.map(() => element("span", { role: "gridcell" }));
    const row = element("div", { role: "row", id: `message-${message.number}` }, cells);
    row.message = message;
    setText(cells[0], message.id);
    cells[0].title = message.id;
    setText(cells[1], WAY_NAMES[message.way]);
    cells[1].className = `design ${message.way}`;
    setText(cells[3], clock(message.dueAt));
    this.#space.append(row);
    return row;
  }

  #update(row, message) {
    const [, , status, , response, stored] = row.children;
    const code = message.attempts.at(-1)?.response?.status;
    setText(status, message.status === "not accepted" ? `not accepted ${code || ""}` : message.status);
    status.className = "status";
    status.dataset.status = message.status;
    const { dueAt, respondedAt, storedAt } = message;
    setText(response, respondedAt === null ? "" : duration(respondedAt - dueAt));
    setText(stored, storedAt === null ? "" : message.shownAt === storedAt ? duration(storedAt - dueAt) : "before");
    row.setAttribute("aria-selected", message === this.#active);
  }

  #press(event) {
    const page = Math.max(Math.floor(this.#box.clientHeight / ROW_HEIGHT) - 2, 1);
    const place = this.#shown.indexOf(this.#active);
    const last = this.#shown.length - 1;
    const target = {
      ArrowDown: place + 1,
      ArrowUp: place - 1,
      PageDown: place + page,
      PageUp: place - page,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Enter" && place >= 0) this.#open(this.#active);
    else if (target === undefined || last < 0) return;
    else this.#activate(Math.min(Math.max(target, 0), last));
    event.preventDefault();
  }

  #activate(place) {
    this.#active = this.#shown[place];
    const top = place * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.#box;
    const bottom = top + 2 * ROW_HEIGHT - clientHeight;
    if (top < scrollTop) this.#box.scrollTop = top;
    else if (bottom > scrollTop) this.#box.scrollTop = bottom;
    this.#render();
  }

  #open(message) {
    this.#active = message;
    this.#render();
    this.#onOpen(message);
  }
}

/** How many messages are shown, in words. */
export function shownText(shown, all) {
  if (all === 0) return "None yet: send one, or a burst.";
  return shown === all ? `${count(all)}, newest first` : `${count(shown)} of ${count(all)}, newest first`;
}
