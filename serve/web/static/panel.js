// The panel next to the image: what was found, the class filter, the JSON.

import { classColor } from "./overlay.js";

const LIST_LENGTH = 50; // rows; the JSON has all
const SPEAK_EVERY = 3_000; // ms, of a running camera: a screen reader must be able to finish a sentence

export class Panel {
  #parts;
  #onHover;
  #spoken = 0;

  /** Its elements: {list, nothing, count, summary, json, copy, ticks, classes, allClasses}. */
  constructor(parts, { onHover }) {
    this.#parts = parts;
    this.#onHover = onHover;
  }

  /** Show a result ({source, frame, width, height, detections}, or null) of which `visible` passes the filter. */
  show(result, visible, { live, empty }) {
    const { list, nothing, count, json, copy, ticks } = this.#parts;
    count.textContent = result ? visible.length : "";
    nothing.textContent = empty;
    nothing.hidden = visible.length > 0;
    const rows = visible.slice(0, LIST_LENGTH);
    keep(list, rows.length, newRow);
    rows.forEach((detection, index) => this.#fillRow(list.children[index], detection, live));
    json.textContent = result ? JSON.stringify({ ...result, detections: visible }, null, 2) : "{}";
    copy.disabled = !result;
    const all = result?.detections ?? [];
    list.parentElement.style.setProperty("--rows", Math.min(all.length, LIST_LENGTH));
    keep(ticks, all.length, () => document.createElement("i"));
    all.forEach((detection, index) => ticks.children[index].style.setProperty("--score", detection.score));
    this.#countClasses(all);
    this.#speak(result ? describe(visible) : "", live);
  }

  /** Make a button for each class; `chosen` is the set of those pressed, none standing for all. */
  setClasses(names, chosen, onChange) {
    const { classes, allClasses } = this.#parts;
    const update = () => {
      for (const chip of classes.children) chip.setAttribute("aria-pressed", chosen.has(chip.dataset.name));
      allClasses.hidden = chosen.size === 0;
      onChange();
    };
    classes.replaceChildren(
      ...names.map((name, classId) => {
        const chip = document.createElement("button");
        chip.type = "button";
        chip.dataset.name = name;
        const amount = document.createElement("i"); // of this class in the image, in the class's color
        const { color, ink } = classColor(classId);
        amount.style.background = color;
        amount.style.color = ink;
        chip.append(amount, name);
        chip.onclick = () => {
          if (!chosen.delete(name)) chosen.add(name);
          update();
        };
        return chip;
      }),
    );
    allClasses.onclick = () => {
      chosen.clear();
      update();
      classes.firstElementChild?.focus();
    };
    update();
  }

  #countClasses(detections) {
    const counts = countByLabel(detections);
    for (const chip of this.#parts.classes.children) {
      const amount = counts.get(chip.dataset.name) ?? "";
      if (chip.firstElementChild.textContent !== String(amount)) chip.firstElementChild.textContent = amount;
    }
  }

  #fillRow(row, detection, live) {
    const [swatch, name, score, meter] = row.children;
    swatch.style.background = classColor(detection.class_id).color;
    name.textContent = detection.label;
    score.textContent = detection.score.toFixed(2);
    meter.style.setProperty("--score", detection.score);
    row.onpointerenter = live ? null : () => this.#onHover(detection);
    row.onpointerleave = live ? null : () => this.#onHover(null);
  }

  #speak(text, live) {
    const { summary } = this.#parts;
    const now = performance.now();
    if (summary.textContent === text || (live && now < this.#spoken + SPEAK_EVERY)) return;
    this.#spoken = now;
    summary.textContent = text;
  }
}

/** "2 × dog, person" */
export function describe(detections) {
  if (detections.length === 0) return "Nothing found";
  return [...countByLabel(detections)].map(([label, count]) => (count > 1 ? `${count} × ${label}` : label)).join(", ");
}

function countByLabel(detections) {
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

function newRow() {
  const row = document.createElement("li");
  for (const [tag, className] of [["i", "swatch"], ["span", "name"], ["span", "score"], ["i", "level"]]) {
    const part = document.createElement(tag);
    part.className = className;
    row.append(part);
  }
  return row;
}

// Make or remove children until there are so many; those that stay are kept, so that nothing flickers.
function keep(parent, count, make) {
  while (parent.childElementCount < count) parent.append(make());
  while (parent.childElementCount > count) parent.lastElementChild.remove();
}
