// The strip of several photos: a button for each, with its number of boxes.

import { describe } from "./panel.js";

export class Strip {
  #list;
  #onChoose;

  constructor(list, { onChoose }) {
    this.#list = list;
    this.#onChoose = onChoose;
  }

  /** Show photos, hidden for fewer than two; `boxesOf(photo)` are the detections that pass the filter. */
  show(photos, current, boxesOf) {
    this.#list.hidden = photos.length < 2;
    if (this.#list.hidden) return this.#list.replaceChildren();
    while (this.#list.childElementCount < photos.length) this.#list.append(newItem());
    while (this.#list.childElementCount > photos.length) this.#list.lastElementChild.remove();
    photos.forEach((photo, index) => this.#fill(this.#list.children[index].firstElementChild, photo, current, boxesOf));
  }

  #fill(button, photo, current, boxesOf) {
    const [thumb, amount] = button.children;
    if (photo.thumb && thumb.getAttribute("src") !== photo.thumb) thumb.src = photo.thumb;
    if (!photo.thumb) thumb.removeAttribute("src");
    const found = photo.result ? boxesOf(photo) : [];
    amount.textContent = photo.error ? "!" : photo.result ? found.length : "…";
    const told = photo.error ? photo.error.message : photo.result ? describe(found) : "waiting";
    button.title = photo.name;
    button.setAttribute("aria-label", `${photo.name}: ${told}`);
    if (photo === current && button.getAttribute("aria-current") !== "true") {
      button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    button.setAttribute("aria-current", photo === current);
    button.onclick = () => this.#onChoose(photo);
  }
}

function newItem() {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  const thumb = document.createElement("img");
  thumb.alt = "";
  button.append(thumb, document.createElement("span"));
  item.append(button);
  return item;
}
