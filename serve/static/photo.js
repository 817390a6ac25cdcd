// Photos that a visitor gives, before they go to the server.

const SMALLER_SIDE = 2048; // pixels: to this a photo is shrunk that is too large for the server
const QUALITY = 0.9;

/** The first picture that was pasted or dropped, if there is any. */
export const firstPicture = (transfer) => [...(transfer?.files ?? [])].find(({ type }) => type.startsWith("image/"));

/** The same photo as a JPEG whose longer side is at most `SMALLER_SIDE`. */
export async function shrink(file, name) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SMALLER_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new File([await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY })], name);
}
