// Elements and texts of the page.

/** An element with properties, attributes (`aria-…`, `data-…`, `role`, `class`) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Sets a text only if it differs: screen readers announce, and browsers lay out, only what changes. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Says something to screen readers, without moving anything on the page. */
export function announce(text) {
  setText(byId("announcements"), text);
}

export const count = (number) => number.toLocaleString("en-US");

export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 99_950) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

const PARTS = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 };
const TIME = new Intl.DateTimeFormat("en-GB", PARTS);

/** A time of day, to the millisecond. */
export const clock = (time) => TIME.format(time);

/** Now, in milliseconds since 1970, on the clock of the machine: on a local stack the functions read the same one. */
export const now = () => Date.now();
