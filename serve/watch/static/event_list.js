// List of events, newest first: rows, selection, keyboard, pages.

import { withKey } from "./api.js";
import { clock, dayOf, duration, what } from "./texts.js";

export class EventList {
  #list;
  #onOpen;
  #onSelect;
  #events = []; // newest start first
  #rows = new Map(); // id -> <li>
  selected = new Set(); // ids

  constructor(list, { onOpen, onSelect }) {
    this.#list = list;
    this.#onOpen = onOpen;
    this.#onSelect = onSelect;
    list.onkeydown = (event) => this.#move(event);
  }

  get events() {
    return this.#events;
  }

  clear() {
    this.#events = [];
    this.#rows.clear();
    this.#list.replaceChildren();
    this.unselect();
  }

  unselect() {
    this.selected.clear();
    for (const box of this.#list.querySelectorAll("input")) box.checked = false;
    this.#onSelect();
  }

  /** Add events, or show their latest state. */
  put(events) {
    for (const event of events) {
      const known = this.#rows.has(event.id);
      if (known) {
        this.#events[this.#events.findIndex(({ id }) => id === event.id)] = event;
      } else {
        const place = this.#events.findIndex(({ start }) => start < event.start);
        this.#events.splice(place < 0 ? this.#events.length : place, 0, event);
        this.#rows.set(event.id, this.#newRow(event.id));
      }
      this.#fill(event);
      if (!known) this.#insert(event);
    }
  }

  /** The event after another one in the list (step 1), or before it (-1). */
  neighbor(id, step) {
    return this.#events[this.#events.findIndex((event) => event.id === id) + step];
  }

  focus(id) {
    this.#rows.get(id)?.querySelector("button").focus();
  }

  #insert(event) {
    const row = this.#rows.get(event.id);
    const later = this.neighbor(event.id, -1);
    const earlier = this.neighbor(event.id, 1);
    const day = dayOf(event.start);
    if (later && dayOf(later.start) === day) {
      this.#rows.get(later.id).after(row);
    } else if (earlier && dayOf(earlier.start) === day) {
      this.#rows.get(earlier.id).before(row);
    } else {
      const heading = document.createElement("li");
      heading.className = "day";
      heading.textContent = day;
      if (later) this.#rows.get(later.id).after(heading, row);
      else this.#list.prepend(heading, row);
    }
  }

  #newRow(id) {
    const row = document.createElement("li");
    row.className = "event";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.onchange = () => {
      if (box.checked) this.selected.add(id);
      else this.selected.delete(id);
      this.#onSelect();
    };
    const button = document.createElement("button");
    button.type = "button";
    button.onclick = () => this.#onOpen(id);
    const thumb = document.createElement("span");
    thumb.className = "thumb";
    const image = document.createElement("img");
    image.alt = "";
    image.loading = "lazy";
    thumb.append(image);
    const [text, when] = ["what", "when"].map((name) => {
      const part = document.createElement("span");
      part.className = name;
      return part;
    });
    button.append(thumb, text, when);
    row.append(box, button);
    return row;
  }

  #fill(event) {
    const row = this.#rows.get(event.id);
    const [box, button] = row.children;
    const [thumb, text, when] = button.children;
    row.classList.toggle("lasting", event.end === null);
    box.setAttribute("aria-label", `Select: ${what(event)}, ${clock(event.start)}`);
    const where = document.createElement("span");
    where.className = "where";
    where.textContent = `${event.camera} · ${event.score.toFixed(2)}`;
    text.replaceChildren(what(event), where);
    const length = document.createElement("small");
    length.textContent = duration(event);
    when.replaceChildren(clock(event.start), length);
    const [image] = thumb.children;
    if (event.snapshot === "stored" && !image.src) image.src = withKey(`events/${event.id}/snapshot?boxes=true`);
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const row = event.target.closest(".event");
    if (!step || !row) return;
    event.preventDefault();
    const rows = [...this.#list.querySelectorAll(".event")];
    const place = Math.max(0, Math.min(rows.length - 1, rows.indexOf(row) + step));
    rows[place].querySelector("button").focus();
  }
}
