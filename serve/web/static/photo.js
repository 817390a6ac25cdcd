// Photos: what was pasted, dropped or chosen; made small enough for the line; asked about, with patience.

import { detect } from "./api.js";

const BUSY_TRIES = 3;
const SERVED = ["image/jpeg", "image/png", "image/webp", "image/bmp"]; // what the server reads; the browser shows more
const ANIMATED = ["image/gif", "image/webp", "image/avif"]; // shown as a still: the boxes are those of the first frame
const SMALL_FILE = 300_000; // bytes; a file of the right size in pixels is sent as it is up to here
const STILL_SIDE = 2048; // pixels
const THUMB_SIDE = 128;
const QUALITY = 0.9;

const isImage = ({ type, name }) => type.startsWith("image/") || /\.(jpe?g|jfif|png|webp|bmp|gif|avif)$/i.test(name);

/** The images among files, and how many others there are. */
export function sortFiles(files) {
  const images = [...(files ?? [])].filter(isImage);
  return { images, others: (files?.length ?? 0) - images.length };
}

/**
 * A photo of the page's list.
 *   file, name, address: as it was given; its object URL
 *   shown, thumb: object URLs to show, once it was prepared
 *   width, height: as the browser shows it, pixels; 0 where the browser cannot
 *   sent: {blob, width, height} that goes to the server, null before it was prepared
 *   result, error: of the server; `model` and `conf` are what it was asked with
 */
export class Photo {
  shown = null;
  thumb = null;
  width = 0;
  height = 0;
  sent = null;
  result = null;
  error = null;
  model = "";
  conf = 1;
  tiles = "";
  roundTrip = 0;
  stages = null;
  #side = 0; // that it was prepared for
  #prepared = null;

  constructor(file) {
    this.file = file;
    this.name = file.name || "pasted image";
    this.address = URL.createObjectURL(file);
  }

  /** Give its memory back. */
  close() {
    for (const address of [this.address, this.shown, this.thumb]) if (address) URL.revokeObjectURL(address);
  }

  /**
   * Ask the server, and keep its answer, with boxes in pixels of the photo.
   *
   * options: {model, conf, tiles, side, signal}; `side` is the most that the network needs of the longer side, in pixels.
   */
  async ask({ model, conf, tiles, side, signal }) {
    if (this.#side !== side) {
      this.#side = side;
      this.#prepared = this.#prepare(side);
    }
    await this.#prepared;
    const { result, roundTrip, stages } = await this.#askPatiently({ model, conf, tiles, signal }, side);
    this.result = this.sent.blob === this.file ? result : enlarged(result, this.width, this.height);
    Object.assign(this, { roundTrip, stages, model, conf, tiles, error: null });
  }

  // A busy server is asked again when it said so, and one that finds the photo too large gets it smaller.
  async #askPatiently(options, side) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await detect(this.sent.blob, this.name, options);
      } catch (error) {
        const tooLarge = error.status === 413 || error.code === "too_many_pixels";
        if (tooLarge && this.sent.blob === this.file && this.width) {
          await this.#prepare(side, { always: true });
        } else if (error.status === 429 && attempt <= BUSY_TRIES) {
          await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(error.retryAfter, 0.5)));
          if (options.signal.aborted) throw new DOMException("replaced by another photo", "AbortError");
        } else {
          throw error;
        }
      }
    }
  }

  // Sets `sent`; run once for each `side`, also where the request that needed it is aborted.
  async #prepare(side, { always = false } = {}) {
    this.sent = { blob: this.file, width: 0, height: 0 };
    const image = new Image();
    image.src = this.address;
    try {
      await image.decode();
    } catch {
      return; // the browser cannot show it: the server says what is wrong
    }
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!width || !height) return; // a drawing without a size
    this.width = width;
    this.height = height;
    this.thumb ??= URL.createObjectURL((await drawn(image, THUMB_SIDE)).blob);
    if (ANIMATED.includes(this.file.type)) this.shown ??= URL.createObjectURL((await drawn(image, STILL_SIDE)).blob);
    const small = Math.max(width, height) <= side && this.file.size <= SMALL_FILE;
    if (always || !small || !SERVED.includes(this.file.type)) this.sent = await drawn(image, side);
  }
}

/** An image as a JPEG whose longer side is at most `side`, on white where it is transparent: {blob, width, height}. */
async function drawn(image, side) {
  const { naturalWidth: width, naturalHeight: height } = image;
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  return { blob, width: canvas.width, height: canvas.height };
}

/** A result in pixels of a larger image. */
function enlarged(result, width, height) {
  const scales = [width / result.width, height / result.height];
  const place = (value, index) => Math.min(Math.round(10 * value * scales[index % 2]) / 10, index % 2 ? height : width);
  const detections = result.detections.map((detection) => ({ ...detection, box: detection.box.map(place) }));
  return { ...result, width, height, detections };
}
