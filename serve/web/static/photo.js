// Photo upload: paste, drop, retry, shrink.

import { detect } from "./api.js";

const BUSY_TRIES = 3;
const SMALLER_SIDE = 2048; // pixels; a photo that the server rejects as too large is shrunk to this
const QUALITY = 0.9;

/** The first image that was pasted or dropped, if there is any. */
export const firstImage = (transfer) => [...(transfer?.files ?? [])].find(({ type }) => type.startsWith("image/"));

/**
 * The server's answer to a photo {file, name}, as `detect` gives it. A busy server is asked again when it said so, and
 * one that finds the photo too large gets it smaller, from then on.
 */
export async function askPatiently(photo, options) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await detect(photo.file, options);
    } catch (error) {
      const tooLarge = error.status === 413 || /pixel/.test(error.code);
      if (tooLarge && !photo.shrunk) {
        photo.shrunk = true;
        photo.file = await shrink(photo.file, photo.name).catch(() => Promise.reject(error));
      } else if (error.status === 429 && attempt <= BUSY_TRIES) {
        await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(error.retryAfter, 0.5)));
        if (options.signal.aborted) throw new DOMException("replaced by another photo", "AbortError");
      } else {
        throw error;
      }
    }
  }
}

/** The same photo as a JPEG whose longer side is at most `SMALLER_SIDE`. */
async function shrink(file, name) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SMALLER_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new File([await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY })], name);
}
