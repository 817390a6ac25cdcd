// Filters of the events: the form, the page's URL, the API's query, and the same test for events of the stream.

import { KINDS } from "./texts.js";

const NAMES = ["camera", "label", "zone", "kind"];
const TIMES = ["after", "before"];
const ALL = { camera: "all cameras", label: "everything", zone: "anywhere", kind: "anything" };

export class Filters {
  #form;

  constructor(form, { onChange }) {
    this.#form = form;
    for (const name of NAMES) form[name].append(new Option(ALL[name], ""));
    this.offer("kind", KINDS);
    this.#read();
    const changed = () => {
      history.replaceState(null, "", this.query().size ? `?${this.query()}` : location.pathname);
      onChange();
    };
    form.onchange = changed;
    form.onsubmit = (event) => event.preventDefault();
    form.onreset = () => setTimeout(changed); // after the fields are empty
  }

  /** Add choices that are not there yet. */
  offer(name, values) {
    const field = this.#form[name];
    const known = new Set([...field.options].map(({ value }) => value));
    for (const value of values) if (value && !known.has(value)) field.append(new Option(value, value));
  }

  /** Parameters of /events and /events/export. */
  query() {
    const query = new URLSearchParams();
    for (const name of NAMES) if (this.#form[name].value) query.set(name, this.#form[name].value);
    for (const name of TIMES) if (this.#form[name].value) query.set(name, new Date(this.#form[name].value).toISOString());
    return query;
  }

  passes(event) {
    const query = this.query();
    const start = new Date(event.start);
    return (
      NAMES.every((name) => !query.has(name) || event[name] === query.get(name)) &&
      (!query.has("after") || start >= new Date(query.get("after"))) &&
      (!query.has("before") || start < new Date(query.get("before")))
    );
  }

  #read() {
    const query = new URLSearchParams(location.search);
    for (const name of NAMES) {
      if (!query.get(name)) continue;
      this.offer(name, [query.get(name)]);
      this.#form[name].value = query.get(name);
    }
    for (const name of TIMES) {
      const date = new Date(query.get(name) ?? NaN);
      if (!Number.isNaN(date.getTime())) {
        this.#form[name].value = new Date(date - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 16);
      }
    }
  }
}
