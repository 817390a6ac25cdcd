// Latency and rate of the last seconds, and time by stage.

const WINDOW = 2_000; // ms
const REFRESH = 500; // ms; faster is unreadable

// The stages of a frame's way, in order. `wire` is what the round trip takes beyond the server's own time.
const STAGES = [
  ["encode", "Capture"],
  ["wire", "Transfer"],
  ["queue", "Queue"],
  ["decode", "Decode"],
  ["network", "Neural network"],
  ["postprocess", "Boxes"],
  ["draw", "Draw"],
];

export class Meter {
  #section;
  #figures;
  #bar;
  #stages;
  #note;
  #samples = [];
  #shown = 0;

  /** Its elements; the section is hidden while there is nothing to tell. */
  constructor({ section, figures, bar, stages, note }) {
    this.#section = section;
    this.#figures = figures;
    this.#bar = bar;
    this.#stages = stages;
    this.#note = note;
  }

  clear() {
    this.#samples = [];
    this.#shown = 0;
    this.#section.hidden = true;
  }

  /** A photo's round trip in ms, and the server's stages where it tells them. */
  photo(roundTrip, stages) {
    const known = stages ? { ...pick(stages), wire: Math.max(0, roundTrip - total(stages)) } : {};
    const figures = [["Round trip", milliseconds(roundTrip)]];
    if (stages?.network !== undefined) figures.push(["Neural network", milliseconds(stages.network)]);
    this.#show(figures, known, "From sending the photo to having its boxes.");
  }

  /** A frame on screen: its times of performance.now(), video frames skipped before it, the server's stages in ms. */
  frame({ captured, encoded, answered, drawn, skipped, bytes }, timings) {
    const server = total(timings);
    this.#samples.push({
      at: drawn,
      skipped,
      latency: drawn - captured,
      roundTrip: answered - encoded,
      stages: {
        ...pick(timings),
        encode: encoded - captured,
        wire: Math.max(0, answered - encoded - server),
        draw: drawn - answered,
      },
    });
    while (this.#samples[0].at < drawn - WINDOW) this.#samples.shift();
    if (drawn - this.#shown < REFRESH) return;
    this.#shown = drawn;
    const of = (name) => median(this.#samples.map((sample) => sample[name]));
    const stage = (name) => median(this.#samples.map((sample) => sample.stages[name] ?? 0));
    const count = this.#samples.length;
    const span = (drawn - this.#samples[0].at) / 1000;
    const passed = this.#samples.reduce((sum, sample) => sum + sample.skipped, 0);
    this.#show(
      [
        ["Frame to box", milliseconds(of("latency"))],
        ["Rate", count > 1 ? [((count - 1) / span).toFixed(1), "/s"] : ["–", ""]],
        ["Round trip", milliseconds(of("roundTrip"))],
        ["Neural network", milliseconds(stage("network"))],
        ["Skipped", [Math.round((100 * passed) / (passed + count)), "%"]],
        ["Frame sent", [Math.round(bytes / 1024), "KB"]],
      ],
      Object.fromEntries(STAGES.map(([name]) => [name, stage(name)])),
      `Medians of the last ${WINDOW / 1000} s, from the camera's frame to its boxes on this screen. ` +
        "Capture includes encoding. While one frame is under way, the camera's others are skipped.",
    );
  }

  #show(figures, stages, note) {
    this.#section.hidden = false;
    fill(this.#figures, figures, ([name, [value, unit]]) => [name, value, unit]);
    const known = STAGES.filter(([name]) => stages[name] !== undefined);
    fill(this.#stages, known, ([name, label]) => [label, ...milliseconds(stages[name])], known.map(([name]) => name));
    while (this.#bar.childElementCount < known.length) this.#bar.append(document.createElement("i"));
    while (this.#bar.childElementCount > known.length) this.#bar.lastElementChild.remove();
    known.forEach(([name], index) => {
      this.#bar.children[index].dataset.stage = name;
      this.#bar.children[index].style.flexGrow = stages[name];
    });
    this.#bar.hidden = known.length === 0;
    this.#note.textContent = note;
  }
}

// Rows of a <dl>, kept from one call to the next, so that nothing flickers.
function fill(list, items, row, names = []) {
  while (list.childElementCount > items.length) list.lastElementChild.remove();
  items.forEach((item, index) => {
    if (!list.children[index]) {
      const group = document.createElement("div");
      const value = document.createElement("dd");
      value.append(document.createElement("span"), document.createElement("small"));
      group.append(document.createElement("dt"), value);
      list.append(group);
    }
    const group = list.children[index];
    if (names[index]) group.dataset.stage = names[index];
    const [label, value, unit] = row(item);
    const texts = [group.firstElementChild, ...group.lastElementChild.children];
    [label, value, unit].forEach((text, place) => {
      if (texts[place].textContent !== String(text)) texts[place].textContent = text;
    });
  });
}

const milliseconds = (value) => [value < 10 ? value.toFixed(1) : Math.round(value), "ms"];

const pick = (timings) =>
  Object.fromEntries(STAGES.map(([name]) => [name, timings[name]]).filter(([, value]) => value !== undefined));

const total = (timings) => timings.total ?? Object.values(pick(timings)).reduce((sum, value) => sum + value, 0);

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
