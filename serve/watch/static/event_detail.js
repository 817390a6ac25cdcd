// One event in a dialog: snapshot, clip, facts, deliveries.

import { request, withKey } from "./api.js";
import { clock, dayOf, duration, missing, what } from "./texts.js";

const $ = (id) => document.getElementById(id);

export class EventDetail {
  #neighbor;
  #onClose;
  #event = null;
  #show = "boxes"; // boxes | snapshot | clip

  /** neighbor(id, step): the event before or after; onClose(id) */
  constructor({ neighbor, onClose }) {
    this.#neighbor = neighbor;
    this.#onClose = onClose;
    const dialog = $("detail");
    $("detail-close").onclick = () => dialog.close();
    $("detail-previous").onclick = () => this.#step(-1);
    $("detail-next").onclick = () => this.#step(1);
    dialog.onclick = ({ target }) => target === dialog && dialog.close(); // the backdrop
    dialog.onclose = () => {
      $("detail-clip").removeAttribute("src");
      $("detail-clip").load();
      this.#onClose(this.#event.id);
    };
    dialog.onkeydown = ({ key, target }) => {
      if (target.tagName === "VIDEO") return; // its own keys
      if (key === "ArrowLeft") this.#step(-1);
      if (key === "ArrowRight") this.#step(1);
    };
    for (const button of dialog.querySelectorAll("[data-show]")) {
      button.onclick = () => {
        this.#show = button.dataset.show;
        this.#showMedia();
      };
    }
    $("detail-clip").onerror = () => {
      if (!$("detail-clip").hasAttribute("src")) return;
      this.#say("This browser cannot play the clip: its codec is the camera's own. Download it for a player.");
    };
    $("detail-snapshot").onerror = () => this.#say("The image cannot be loaded.");
  }

  get id() {
    return $("detail").open ? this.#event.id : null;
  }

  open(event) {
    this.#event = event;
    this.#show = "boxes";
    if (!$("detail").open) $("detail").showModal();
    this.#fill();
    this.#showMedia();
    this.#loadDeliveries(event.id);
  }

  /** Show the latest state of the event that is open. */
  update(event) {
    const files = ({ snapshot, clip }) => `${snapshot} ${clip}`;
    const changed = files(event) !== files(this.#event);
    this.#event = event;
    this.#fill();
    if (changed) this.#showMedia();
  }

  #step(step) {
    const next = this.#neighbor(this.#event.id, step);
    if (next) this.open(next);
  }

  #fill() {
    const event = this.#event;
    $("detail-title").textContent = what(event);
    $("detail-previous").disabled = !this.#neighbor(event.id, -1);
    $("detail-next").disabled = !this.#neighbor(event.id, 1);
    const ended = event.end === null ? "lasts" : `${clock(event.end)}${event.interrupted ? " (the program ended)" : ""}`;
    this.#facts({
      Camera: event.camera,
      Rule: event.rule,
      Begin: `${dayOf(event.start)}, ${clock(event.start)}`,
      End: ended,
      ...(event.end !== null && duration(event) && { Length: duration(event) }),
      Score: event.score.toFixed(2),
    });
  }

  #facts(facts) {
    $("detail-facts").replaceChildren(
      ...Object.entries(facts).flatMap(([name, value]) => {
        const [term, text] = [document.createElement("dt"), document.createElement("dd")];
        term.textContent = name;
        text.textContent = value;
        return [term, text];
      }),
    );
  }

  async #loadDeliveries(id) {
    const { deliveries } = await request(`events/${id}`).then((answer) => answer.json(), () => ({ deliveries: [] }));
    if (this.id !== id) return;
    for (const { destination, phase, state, attempts, problem } of deliveries) {
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = `${destination}, ${phase}`;
      text.textContent = `${state.replace("_", " ")}${attempts > 1 ? ` (${attempts} attempts)` : ""}${problem ? `: ${problem}` : ""}`;
      $("detail-facts").append(term, text);
    }
  }

  #showMedia() {
    const { id, end, snapshot, clip } = this.#event;
    const [image, video, download] = [$("detail-snapshot"), $("detail-clip"), $("detail-download")];
    for (const button of $("detail").querySelectorAll("[data-show]")) {
      button.setAttribute("aria-pressed", button.dataset.show === this.#show);
    }
    const isClip = this.#show === "clip";
    const state = isClip ? clip : snapshot;
    const there = state === "stored";
    image.hidden = isClip || !there;
    video.hidden = !isClip || !there;
    $("detail-missing").hidden = there;
    download.hidden = !there;
    if (!isClip) video.removeAttribute("src");
    if (!there) {
      $("detail-missing").textContent = missing(isClip ? "clip" : "snapshot", state, end === null);
      return;
    }
    const address = withKey(isClip ? `events/${id}/clip` : `events/${id}/snapshot${this.#show === "boxes" ? "?boxes=true" : ""}`);
    download.href = address;
    download.download = `${id}.${isClip ? "mp4" : "jpg"}`;
    if (isClip) {
      video.src = address;
      video.play().catch(() => {}); // its controls can
    } else {
      image.src = address;
      image.alt = `${what(this.#event)}, camera ${this.#event.camera}`;
    }
  }

  #say(text) {
    $("detail-snapshot").hidden = $("detail-clip").hidden = true;
    $("detail-missing").hidden = false;
    $("detail-missing").textContent = text;
  }
}
