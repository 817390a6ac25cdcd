// Boxes and their labels over an image, drawn for the screen's own pixels.

import COLORS from "./colors.js";

const FONT_SIZE = 13; // CSS pixels, as all lengths here
const LABEL_HEIGHT = 20;
const LABEL_PADDING = 6;
const LINE = 2;
const HALO = "rgb(0 0 0 / 0.45)"; // around each box, so that it stands out on a ground of its own color
const DIMMED = 0.25;

/** The color of a class, and black or white, whichever reads better on it. */
export function classColor(classId) {
  const color = COLORS[classId % COLORS.length];
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  return { color, ink: 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff" };
}

export class Overlay {
  #canvas;
  #context;
  #scene = null; // {width, height, detections} of the image below
  #highlighted = null;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    const observer = new ResizeObserver(([entry]) => this.#resize(entry));
    try {
      observer.observe(canvas, { box: "device-pixel-content-box" }); // exact where CSS pixels fall between
    } catch {
      observer.observe(canvas);
    }
  }

  /** Draw detections [{label, class_id, score, box}], best first, of a image of width × height; none clears. */
  draw(width = 0, height = 0, detections = []) {
    this.#scene = { width, height, detections };
    this.#paint();
    this.#canvas.dataset.boxes = detections.length;
  }

  /** Let one detection of those drawn stand out; null: none. */
  highlight(detection) {
    this.#highlighted = detection;
    this.#paint();
  }

  #resize(entry) {
    const exact = entry.devicePixelContentBoxSize?.[0];
    const pixels = (length, known) => {
      const about = length * window.devicePixelRatio;
      return Math.abs(known - about) <= 1 ? known : Math.round(about); // an emulated screen tells its ratio only
    };
    const width = pixels(entry.contentRect.width, exact?.inlineSize);
    const height = pixels(entry.contentRect.height, exact?.blockSize);
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#paint();
  }

  #paint() {
    const context = this.#context;
    const { width: areaWidth, height: areaHeight } = this.#canvas;
    context.clearRect(0, 0, areaWidth, areaHeight);
    if (!this.#scene?.detections.length || !this.#canvas.clientWidth) return;
    const { width, height, detections } = this.#scene;
    const unit = areaWidth / this.#canvas.clientWidth; // device pixels in a CSS pixel
    const scale = Math.min(areaWidth / width, areaHeight / height); // as object-fit: contain does
    const area = {
      left: (areaWidth - width * scale) / 2,
      top: (areaHeight - height * scale) / 2,
      right: (areaWidth + width * scale) / 2,
      bottom: (areaHeight + height * scale) / 2,
    };
    const line = Math.max(1, Math.round(LINE * unit));
    context.font = `600 ${FONT_SIZE * unit}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const known = detections.includes(this.#highlighted);
    const dim = (detection) => (known && detection !== this.#highlighted ? DIMMED : 1);

    const placed = detections.map((detection) => {
      const [x1, y1, x2, y2] = detection.box;
      const left = Math.round(clamp(area.left + x1 * scale, area.left, area.right - line));
      const top = Math.round(clamp(area.top + y1 * scale, area.top, area.bottom - line));
      const right = Math.round(clamp(area.left + x2 * scale, left + line, area.right));
      const bottom = Math.round(clamp(area.top + y2 * scale, top + line, area.bottom));
      return { detection, left, top, right, bottom, ...classColor(detection.class_id) };
    });
    for (const { detection, left, top, right, bottom, color } of [...placed].reverse()) {
      context.globalAlpha = dim(detection);
      const box = [left + line / 2, top + line / 2, right - left - line, bottom - top - line];
      context.lineWidth = line + 2 * Math.max(1, Math.round(unit / 2));
      context.strokeStyle = HALO;
      context.strokeRect(...box);
      context.lineWidth = line;
      context.strokeStyle = color;
      context.strokeRect(...box);
    }

    // Labels, the best first: each at the first of its places that is inside the image and free.
    const taken = [];
    const labels = placed.map((at) => {
      const text = `${at.detection.label} ${at.detection.score.toFixed(2)}`;
      const labelWidth = Math.ceil(context.measureText(text).width + 2 * LABEL_PADDING * unit);
      const labelHeight = Math.round(LABEL_HEIGHT * unit);
      const left = Math.round(clamp(at.left, area.left, area.right - labelWidth));
      const places = [at.top - labelHeight + line, at.top, at.bottom - line, at.bottom - labelHeight]
        .filter((top) => top >= area.top - 1 && top + labelHeight <= area.bottom + 1)
        .map((top) => ({ left, top, right: left + labelWidth, bottom: top + labelHeight }));
      const place = places.find((one) => !taken.some((other) => overlap(one, other))) ??
        places[0] ?? { left, top: area.top, right: left + labelWidth, bottom: area.top + labelHeight };
      taken.push(place);
      return { ...at, text, place };
    });
    for (const { detection, color, ink, text, place } of labels.reverse()) {
      context.globalAlpha = dim(detection);
      context.fillStyle = color;
      context.fillRect(place.left, place.top, place.right - place.left, place.bottom - place.top);
      context.fillStyle = ink;
      context.fillText(text, place.left + LABEL_PADDING * unit, (place.top + place.bottom) / 2 + 0.5 * unit);
    }
    context.globalAlpha = 1;
  }
}

const clamp = (value, low, high) => Math.max(low, Math.min(value, high));
const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
