// Cameras: state, figures and a still a second.

import { request } from "./api.js";

const STATUS_EVERY = 2_000; // ms
const FRAME_EVERY = 1_000;
const STATES = { connecting: "connecting", live: "live", lost: "no signal", ended: "ended" };

export class Cameras {
  #list;
  #onNames;
  #cards = new Map(); // name -> {item, image, dot, rate, problem, address, busy}
  #timers = [];

  /** list: the <ul>; onNames(names): called when the cameras are known. */
  constructor(list, { onNames }) {
    this.#list = list;
    this.#onNames = onNames;
  }

  /** Show the cameras and refresh them while the page is visible. Throws a `ServerError` where the first try fails. */
  async start() {
    this.stop();
    await this.#status();
    this.#timers = [
      setInterval(() => document.hidden || this.#status().catch(() => {}), STATUS_EVERY), // the stream says that it is lost
      setInterval(() => document.hidden || this.#frames(), FRAME_EVERY),
    ];
    this.#frames();
  }

  stop() {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  async #status() {
    const { cameras } = await (await request("cameras")).json();
    if (cameras.map(({ name }) => name).join() !== [...this.#cards.keys()].join()) {
      this.#cards = new Map(cameras.map(({ name }) => [name, newCard(name)]));
      this.#list.replaceChildren(...[...this.#cards.values()].map(({ item }) => item));
      this.#onNames([...this.#cards.keys()]);
    }
    for (const camera of cameras) {
      const { item, rate, problem } = this.#cards.get(camera.name);
      item.firstElementChild.dataset.state = camera.state;
      rate.textContent = camera.state === "live" ? `${Math.round(camera.frames_per_second)} frames/s` : STATES[camera.state];
      problem.hidden = camera.state === "live" || !camera.problem;
      problem.textContent = camera.problem ?? "";
    }
  }

  #frames() {
    for (const [name, card] of this.#cards) this.#frame(name, card);
  }

  async #frame(name, card) {
    const { state } = card.item.firstElementChild.dataset;
    if (card.busy || !(state === "live" || (state === "ended" && !card.address))) return;
    card.busy = true;
    try {
      const response = await request(`cameras/${encodeURIComponent(name)}/frame`, { cache: "no-store" });
      const address = URL.createObjectURL(await response.blob());
      card.image.src = address;
      if (card.address) URL.revokeObjectURL(card.address);
      card.address = address;
    } catch {
      // no frame yet, or the server is gone: the state says so
    } finally {
      card.busy = false;
    }
  }
}

function newCard(name) {
  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...children);
    return element;
  };
  const image = make("img", "");
  image.alt = `Latest frame of ${name}`;
  const problem = make("p", "problem");
  const rate = make("small", "");
  const caption = make("figcaption", "", make("span", "dot"), make("b", "", name), rate);
  const item = make("li", "", make("figure", "", make("div", "frame", image, problem), caption));
  return { item, image, problem, rate, address: null, busy: false };
}
