// Texts of events and times, in the reader's language for times.

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", year: "numeric", month: "long", day: "numeric" });
const VERBS = {
  entered: (zone) => `entered ${zone ?? "the view"}`,
  left: (zone) => `left ${zone ?? "the view"}`,
  crossed: (zone, direction) => `crossed ${zone}${direction ? `, ${direction}` : ""}`,
  stayed: (zone) => `stayed in ${zone ?? "view"}`,
  appeared: () => "appeared",
  vanished: () => "vanished",
};

export const KINDS = Object.keys(VERBS);

/** "person entered lawn" */
export const what = ({ label, kind, zone, direction }) => `${label} ${VERBS[kind](zone, direction)}`;

export const clock = (text) => time.format(new Date(text));

/** "Today", "Yesterday", or the date. */
export function dayOf(text, now = new Date()) {
  const date = new Date(text);
  const days = Math.round((midnight(now) - midnight(date)) / 86_400_000); // a day of 23 or 25 hours is one, too
  return days === 0 ? "Today" : days === 1 ? "Yesterday" : day.format(date);
}

const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());

/** How long an event lasted, "" for one without length, "lasts" for one that has not ended. */
export function duration({ start, end }) {
  if (end === null) return "lasts";
  const seconds = Math.round((new Date(end) - new Date(start)) / 1000);
  if (seconds < 1) return "";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** Why there is no snapshot or clip. */
export const missing = (kind, state, lasts) =>
  ({
    none: lasts ? `The ${kind} is there when the event has ended.` : `There is no ${kind} of this event.`,
    dropped: `The ${kind} was dropped by retention.`,
    missing: `The ${kind} is no longer in the folder.`,
  })[state];
