// The list of messages: the newest of those that the filters leave, so that thousands stay smooth.

import { byId, clock, count, duration, element, setText } from "./dom.js";
import { STATUSES, WAY_NAMES } from "./messages.js";

const MAX_ROWS = 100;
const COLUMNS = ["id", "design", "status", "due", "response", "stored"];

export class List {
  #messages;
  #onOpen;
  #body = element("tbody");
  #rows = new Map();

  constructor(messages, onOpen) {
    this.#messages = messages;
    this.#onOpen = onOpen;
    const head = element("tr", {}, COLUMNS.map((name) => element("th", { scope: "col" }, name)));
    byId("list").append(element("thead", {}, head), this.#body);
    byId("filter-status").append(...STATUSES.map((status) => element("option", { value: status }, status)));
    for (const name of ["id", "status", "way"]) byId(`filter-${name}`).addEventListener("input", () => this.show());
  }

  show() {
    const { all } = this.#messages;
    const [id, status, way] = ["id", "status", "way"].map((name) => byId(`filter-${name}`).value);
    const isShown = (message) =>
      (!status || message.status === status) && (!way || message.way === way) && message.id.includes(id);
    const found = id || status || way ? all.filter(isShown) : all;
    const shown = found.slice(-MAX_ROWS).reverse();
    const kept = new Set(shown);
    for (const [message, row] of this.#rows) {
      if (kept.has(message)) continue;
      row.remove();
      this.#rows.delete(message);
    }
    shown.forEach((message, index) => {
      const row = this.#rows.get(message) ?? this.#row(message);
      // A row that stays is not moved: it may have the focus.
      const next = this.#body.children[index];
      if (next !== row) this.#body.insertBefore(row, next ?? null);
      this.#update(row, message);
    });
    const numbers = found.length === all.length ? count(all.length) : `${count(found.length)} of ${count(all.length)}`;
    const newest = found.length > MAX_ROWS ? `, the newest ${MAX_ROWS} below` : ", newest first";
    setText(byId("shown"), all.length === 0 ? "None yet: send one, or a burst." : numbers + newest);
  }

  #row(message) {
    const open = element("button", { type: "button", class: "link" }, message.id);
    open.addEventListener("click", () => this.#onOpen(message));
    const design = element("td", { class: `design ${message.way}` }, WAY_NAMES[message.way]);
    const [status, response, stored] = [element("td", { class: "status" }), element("td"), element("td")];
    const row = element("tr", {}, element("td", {}, open), design, status, element("td", {}, clock(message.dueAt)), response, stored);
    this.#rows.set(message, row);
    return row;
  }

  #update({ cells: [, , status, , response, stored] }, message) {
    const { dueAt, respondedAt, storedAt, shownAt, attempts } = message;
    const code = message.status === "not accepted" ? ` ${attempts.at(-1).response.status || ""}` : "";
    setText(status, message.status + code);
    status.dataset.status = message.status;
    setText(response, respondedAt === null ? "" : duration(respondedAt - dueAt));
    setText(stored, storedAt === null ? "" : shownAt === storedAt ? duration(storedAt - dueAt) : "before");
  }
}
