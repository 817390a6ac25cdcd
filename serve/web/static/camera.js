// Camera: list, open, and error messages.

const WISH = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

const REASONS = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser's address bar, then try again.",
  SecurityError: "The browser keeps the camera from this page. Check its site settings.",
  NotFoundError: "No camera was found. Connect one and try again, or choose a photo.",
  OverconstrainedError: "That camera is no longer there. Choose another one.",
  NotReadableError: "The camera is in use by another program. Close that one, then try again.",
  AbortError: "The camera stopped before it delivered a frame. Try again.",
};

/** Return a stream of the camera with that id; without one, of a phone's rear camera, or of any. */
export async function openCamera(deviceId) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("Browsers give the camera only to https:// and localhost pages. Open this page at one of those.");
  }
  const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: { ideal: "environment" } };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...which, ...WISH } });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The camera did not open: ${error.message || error.name}.`);
  }
}

/** All cameras, [{id, label}]; browsers tell labels only once one has been allowed. */
export async function listCameras() {
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  return devices.map((device, index) => ({ id: device.deviceId, label: device.label || `Camera ${index + 1}` }));
}
