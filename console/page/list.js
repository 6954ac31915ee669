// The list of messages. Only the rows in view exist, so that thousands stay smooth.

import { clock, count, duration, element, setText } from "./dom.js";
import { WAY_NAMES } from "./messages.js";

const ROW_HEIGHT = 30;
/** Rows beyond each edge, so that scrolling shows no gaps. */
const SPARE_ROWS = 6;

export class List {
  #box;
  #space = element("div", { class: "space", role: "presentation" });
  #rows = new Map();
  #shown = [];
  #active = null;
  #onOpen;

  constructor(box, onOpen) {
    this.#box = box;
    this.#onOpen = onOpen;
    box.append(this.#space);
    box.addEventListener("scroll", () => this.#render());
    box.addEventListener("keydown", (event) => this.#press(event));
    box.addEventListener("click", ({ target }) => {
      const row = target.closest("[role=option]");
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
    const to = Math.min(Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + SPARE_ROWS, this.#shown.length);
    const old = this.#rows;
    this.#rows = new Map();
    for (let place = from; place < to; place += 1) {
      const message = this.#shown[place];
      const row = old.get(message) ?? this.#row(message);
      old.delete(message);
      this.#rows.set(message, row);
      row.style.transform = `translateY(${place * ROW_HEIGHT}px)`;
      row.setAttribute("aria-posinset", place + 1);
      row.setAttribute("aria-setsize", this.#shown.length);
      this.#update(row, message);
    }
    for (const row of old.values()) row.remove();
    const active = this.#rows.get(this.#active);
    if (active) this.#box.setAttribute("aria-activedescendant", active.id);
    else this.#box.removeAttribute("aria-activedescendant");
  }

  #row(message) {
    const cells = Array.from({ length: 6 }, () => element("span"));
    const row = element("div", { role: "option", id: `message-${message.number}` }, cells);
    row.message = message;
    setText(cells[0], message.id);
    cells[0].title = message.id;
    setText(cells[1], WAY_NAMES[message.way]);
    setText(cells[3], clock(message.offeredAt));
    this.#space.append(row);
    return row;
  }

  #update(row, message) {
    const [, , status, , response, stored] = row.children;
    const last = message.attempts.at(-1)?.response;
    const code = last?.status ? ` ${last.status}` : "";
    setText(status, message.status === "error" ? `error${code}` : message.status);
    status.className = `status ${message.status}`;
    const { offeredAt, respondedAt, storedAt } = message;
    setText(response, respondedAt === null ? "" : duration(respondedAt - offeredAt));
    setText(
      stored,
      storedAt === null
        ? ""
        : storedAt < offeredAt - 2000
          ? "before"
          : duration(Math.max(storedAt - offeredAt, 0)),
    );
    row.setAttribute("aria-selected", message === this.#active);
  }

  #press(event) {
    const page = Math.max(Math.floor(this.#box.clientHeight / ROW_HEIGHT) - 1, 1);
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
    if (top < scrollTop) this.#box.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.#box.scrollTop = top + ROW_HEIGHT - clientHeight;
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
