// JPEG encoder worker: in a page a browser may defer encoding until it is idle, in a worker it does not.

const QUALITY = 0.8;
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });

self.onmessage = async ({ data: { id, bitmap, width, height } }) => {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const jpeg = await (await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY })).arrayBuffer();
  self.postMessage({ id, jpeg }, [jpeg]);
};
