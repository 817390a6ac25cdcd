// Live page: photo or camera input, box overlay, settings.

import * as api from "./api.js";
import { listCameras, openCamera } from "./camera.js";
import { takeFiles } from "./file_drop.js";
import { hideKeyForm, keyIsWanted, onKey } from "./key_form.js";
import { Live } from "./live.js";
import { Meter } from "./meter.js";
import { hideNotice, noticeIsAbout, notify } from "./notice.js";
import { Overlay } from "./overlay.js";
import { describe, Panel } from "./panel.js";
import { Photo, sortFiles } from "./photo.js";
import { Strip } from "./strip.js";

const SETTLE = 150; // ms without a change of the threshold before the server is asked again
const PANEL_EVERY = 100; // ms between the panel's changes while the camera runs: boxes are drawn at once, text is throttled
const SERVER_TRY_EVERY = 3_000; // ms, between attempts while the server is unreachable or not ready
const PROBE_WITHIN = 5_000; // ms

const $ = (id) => document.getElementById(id);
const page = $("page");
const overlay = new Overlay($("overlay"));
const meter = new Meter({ section: $("speed"), figures: $("figures"), bar: $("bar"), stages: $("stages"), note: $("speed-note") });
const panel = new Panel(
  {
    list: $("list"), nothing: $("nothing"), count: $("count"), summary: $("summary"), json: $("json"),
    copy: $("copy"), ticks: $("ticks"), classes: $("classes"), allClasses: $("all-classes"),
  },
  { onHover: (detection) => overlay.highlight(detection) },
);
const strip = new Strip($("strip"), { onChoose: (chosen) => choosePhoto(chosen) });

let models = [];
let model = null; // the chosen one of them
let threshold = Number($("threshold").value);
let thresholdTouched = false;
const chosenClasses = new Set(); // none: all
let photos = []; // as dropped or chosen
let photo = null; // the one of them on show
let result = null; // the last response, in the shape of docs/detect.md
let asking = null; // AbortController of the photos in progress
let live = null; // {session, stream} while the camera runs
let opening = 0; // number of the last attempt to open the camera
let panelShown = 0;
let settling = 0;

// ---- display

/** Minimum score of a class: that of the slider, once it was moved, before it the model's own. */
const minimum = (label) => (thresholdTouched ? threshold : (model?.class_confidence?.[label] ?? threshold));
const passes = ({ score, label }) => score >= minimum(label) && (chosenClasses.size === 0 || chosenClasses.has(label));

function render({ panelToo = true } = {}) {
  const visible = result ? result.detections.filter(passes) : [];
  overlay.draw(result?.width, result?.height, visible);
  if (!panelToo) return;
  const hidden = result ? result.detections.length - visible.length : 0;
  const empty = result ? (hidden ? "All boxes are filtered out." : "Nothing found at this score.") : "Nothing to show yet.";
  panel.show(result, visible, { live: live !== null, empty });
  strip.show(photos, photo, (one) => one.result.detections.filter(passes));
  $("overlay").setAttribute("aria-label", result ? `Boxes: ${describe(visible)}` : "No boxes");
}

function setState(state) {
  page.dataset.state = state; // empty | photo | camera
  $("photo").hidden = state !== "photo";
  $("video").hidden = state !== "camera";
  $("camera").textContent = state === "camera" ? "Stop the camera" : "Use the camera";
  $("choose").textContent = state === "empty" ? "Choose a photo" : "Another photo";
  $("live").hidden = state !== "camera";
  if (state === "empty") {
    $("caption").textContent = "";
    $("stage").style.removeProperty("--ratio");
  }
}

const setBusy = (busy) => {
  page.dataset.busy = busy;
  page.querySelector(".viewer").setAttribute("aria-busy", busy);
};

function setRatio(width, height) {
  $("stage").style.setProperty("--ratio", width / height);
}

// ---- the server

async function loadModels() {
  try {
    const answer = await api.models();
    models = answer.models.filter(({ task }) => task === "detection");
    hideKeyForm();
    hideNotice();
    $("model").replaceChildren(
      ...models.map(({ name, ready }) => new Option(ready === false ? `${name} (loading)` : name, name)),
    );
    $("model").disabled = models.length === 0;
    if (models.length === 0) return notify("This server has no detection model. Start it with --model pelee-voc.");
    $("model").value = models.some(({ name }) => name === model?.name) ? model.name : answer.default.detection;
    chooseModel();
    if (models.some(({ ready }) => ready === false)) setTimeout(showReady, SERVER_TRY_EVERY);
  } catch (error) {
    if (keyIsWanted(error)) return;
    notify(error.message, { label: "Try again", run: loadModels });
    setTimeout(() => model ?? loadModels(), SERVER_TRY_EVERY);
  }
}

/** Models that were still being loaded are shown as ready once they are. */
async function showReady() {
  const answer = await api.models().catch(() => ({ models }));
  for (const { name, ready, runtime } of answer.models) {
    const known = models.find((one) => one.name === name);
    if (!known) continue;
    Object.assign(known, { ready, runtime });
    $("model").querySelector(`[value="${CSS.escape(name)}"]`).textContent = ready ? name : `${name} (loading)`;
  }
  $("runtime").textContent = model.runtime ?? "";
  if (models.some(({ ready }) => ready === false)) setTimeout(showReady, SERVER_TRY_EVERY);
}

function chooseModel() {
  model = models.find(({ name }) => name === $("model").value) ?? models[0];
  $("runtime").textContent = model.runtime ?? "";
  for (const name of chosenClasses) if (!model.class_names.includes(name)) chosenClasses.delete(name);
  if (!thresholdTouched) setThreshold(model.default_confidence);
  panel.setClasses(model.class_names, chosenClasses, render);
  live?.session.settingsChanged();
  detectPhotos();
}

/** Why the server cannot be used, "gone" or "key"; null if it answers. */
async function probe() {
  try {
    await api.models({ signal: AbortSignal.timeout(PROBE_WITHIN) });
    return null;
  } catch (error) {
    return keyIsWanted(error) ? "key" : "gone";
  }
}

// ---- photos

function showFiles(files) {
  const { images, others } = sortFiles(files);
  if (images.length === 0) {
    if (others) notify("That was no image. Take a JPEG, PNG, WebP, GIF, AVIF or BMP file.");
    return;
  }
  stopCamera();
  forgetPhotos();
  photos = images.map((file) => new Photo(file));
  choosePhoto(photos[0]);
  if (others) notify(`Left out ${others} of ${images.length + others} files: not an image.`);
}

function forgetPhotos() {
  asking?.abort();
  asking = null;
  for (const one of photos) one.close();
  photos = [];
  photo = null;
}

/** Put a photo of the list on show, and ask about it before the others. */
function choosePhoto(chosen) {
  photo = chosen;
  hideNotice();
  setState("photo");
  meter.clear();
  showPhoto();
  const image = $("photo");
  image.decode().then(
    () => photo === chosen && !result && setRatio(image.naturalWidth, image.naturalHeight),
    () => photo === chosen && !chosen.shown && (image.hidden = true), // the error message comes from the server
  );
  detectPhotos();
}

/** What is known of the photo on show: itself, its result, its error. */
function showPhoto() {
  const { name, width, height, sent, error } = photo;
  const address = photo.shown ?? photo.address;
  if ($("photo").getAttribute("src") !== address) $("photo").src = address;
  $("photo").alt = name;
  result = photo.result;
  if (result) {
    setRatio(result.width, result.height);
    const small = sent.width && sent.width < width ? `, sent as ${sent.width} × ${sent.height}` : "";
    $("caption").textContent = `${name}, ${result.width} × ${result.height}${small}`;
    meter.photo(photo.roundTrip, photo.stages);
  } else {
    $("caption").textContent = name;
  }
  if (error) notify(error.message, { label: "Try again", run: tryAgain }, "photo");
  else if (noticeIsAbout("photo")) hideNotice();
  render();
}

function tryAgain() {
  for (const one of photos) one.error = null;
  detectPhotos();
}

const askedConf = () => Number(Math.min(...(model?.class_names ?? [""]).map(minimum)).toFixed(2));
const askedTiles = () => $("tiles").value;
const answers = (one) => one.model === (model?.name ?? "") && one.tiles === askedTiles() && one.conf <= askedConf();
const unanswered = (one) => !one.error && !(one.result && answers(one));

/** Ask about every photo that has no answer for the model and the threshold, the one on show first. */
async function detectPhotos() {
  if (photos.length === 0) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  for (;;) {
    const next = [photo, ...photos].find((one) => one && unanswered(one));
    setBusy(Boolean(next) && next === photo);
    if (!next) break;
    try {
      await next.ask({ model: model?.name ?? "", conf: askedConf(), tiles: askedTiles(), side: networkSide(), signal: mine.signal });
    } catch (error) {
      if (mine !== asking || error.name === "AbortError") return;
      next.result = null;
      if (keyIsWanted(error)) break;
      next.error = error;
    }
    if (mine !== asking) return;
    if (next === photo) showPhoto();
    else render();
  }
  setBusy(false);
}

/**
 * Pixels of an image's longer side that are sent: without tiles the network sees half, the rest is for the server's own
 * resizing; tiles see the image enlarged.
 */
const networkSide = () => (askedTiles() === "off" ? 2 : 4) * (model?.input_size ?? 320);

// ---- the camera

async function startCamera(deviceId) {
  stopCamera();
  hideNotice();
  asking?.abort();
  asking = null;
  setBusy(true);
  const mine = ++opening;
  let stream;
  try {
    stream = await openCamera(deviceId);
    if (mine !== opening) return stream.getTracks().forEach((track) => track.stop());
    const video = $("video");
    video.srcObject = stream;
    await video.play();
    if (mine !== opening) return stream.getTracks().forEach((track) => track.stop());
  } catch (error) {
    stream?.getTracks().forEach((track) => track.stop());
    if (mine === opening) {
      setBusy(false);
      notify(error.message, { label: "Try again", run: () => startCamera(deviceId) });
    }
    return;
  }
  forgetPhotos();
  result = null;
  setBusy(false);
  setState("camera");
  const video = $("video");
  const fit = () => setRatio(video.videoWidth, video.videoHeight);
  fit();
  video.onresize = fit; // screen orientation changed
  $("caption").textContent = "";
  meter.clear();
  stream.getVideoTracks()[0].onended = () => {
    stopCamera();
    notify("The camera was disconnected.", { label: "Try again", run: () => startCamera() });
  };
  const session = new Live({
    video,
    address: api.socketAddress,
    settings: () => ({
      model: model?.name,
      conf: askedConf(),
      classes: null, // the page filters classes itself
      ...(askedTiles() !== "off" && { tiles: askedTiles() }),
    }),
    longSide: networkSide,
    probe,
    onAnswer: showAnswer,
    onState: showConnection,
    onRefusal: ({ message }, about) => {
      notify(message);
      if (about === "frame") page.dataset.refused = true; // until a frame is answered again
    },
  });
  live = { session, stream };
  render();
  const cameras = await listCameras().catch(() => []);
  const current = stream.getVideoTracks()[0].getSettings().deviceId;
  $("camera-device").replaceChildren(...cameras.map(({ id, label }) => new Option(label, id, false, id === current)));
  $("camera-choice").hidden = cameras.length < 2 || !live;
}

function stopCamera() {
  opening++;
  setBusy(false);
  if (!live) return;
  live.session.stop();
  live.stream.getTracks().forEach((track) => track.stop());
  live = null;
  result = null;
  $("video").srcObject = null;
  $("camera-choice").hidden = true;
  setState("empty");
  meter.clear();
  render();
}

function showAnswer({ answer, ...sent }) {
  const { width, height, detections } = answer;
  $("caption").textContent = `${$("video").videoWidth} × ${$("video").videoHeight}, sent as ${width} × ${height}`;
  result = { source: "camera", frame: sent.frame, width, height, detections };
  const due = performance.now() - panelShown > PANEL_EVERY;
  if (due) panelShown = performance.now();
  render({ panelToo: due });
  if (page.dataset.refused) {
    delete page.dataset.refused;
    hideNotice();
  }
  // The frame that shows these boxes is painted after this callback; what follows it has been seen.
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      const measured = { ...sent, drawn: performance.now() };
      $("overlay").dataset.frame = sent.frame;
      document.dispatchEvent(new CustomEvent("pelee:frame", { detail: { ...measured, timings: answer.timings_ms } }));
      if (live) meter.frame(measured, answer.timings_ms ?? {});
    };
    channel.port2.postMessage(null);
  });
}

function showConnection(state, seconds) {
  $("live").dataset.state = state;
  const texts = { connecting: "Connecting", open: "Live", post: "Frame by frame", key: "Key wanted", lost: "No server" };
  $("live-text").textContent = texts[state];
  if (state === "open") return hideNotice();
  if (state === "post") {
    notify("The live connection (WebSocket, /ws) does not get through, perhaps because of a proxy. Each frame is posted by itself, which is slower.");
  }
  if (state === "key" || state === "lost") {
    result = null; // outdated boxes must not stay on the running video
    render();
  }
  if (state === "lost") {
    notify(`The server is gone. Trying again in ${Math.max(1, Math.round(seconds))} s.`, {
      label: "Try now",
      run: () => live?.session.connect(),
    });
  }
}

// ---- event handlers

function setThreshold(value) {
  threshold = value;
  $("threshold").value = value;
  $("threshold").style.setProperty("--value", value);
  $("ticks").style.setProperty("--value", value);
  const byClass = !thresholdTouched && model?.class_confidence;
  $("threshold-value").textContent = byClass ? "by class" : value.toFixed(2);
}

$("threshold").oninput = ({ target }) => {
  thresholdTouched = true;
  setThreshold(Number(target.value));
  render();
  clearTimeout(settling);
  settling = setTimeout(() => {
    live?.session.settingsChanged();
    if (photos.some(unanswered)) detectPhotos();
  }, SETTLE);
};

$("model").onchange = chooseModel;
$("tiles").onchange = () => {
  live?.session.settingsChanged();
  tryAgain();
};
$("choose").onclick = () => $("file").click();
$("file").onchange = ({ target }) => {
  showFiles(target.files);
  target.value = ""; // so that the same photo can be chosen again
};
$("camera").onclick = () => (live ? stopCamera() : startCamera());
$("camera-device").onchange = ({ target }) => startCamera(target.value);
$("notice-close").onclick = () => {
  hideNotice();
  $("choose").focus();
};
onKey(() => {
  loadModels();
  live?.session.connect();
});

$("copy").onclick = async ({ target }) => {
  const text = $("json").textContent;
  try {
    await navigator.clipboard.writeText(text);
    target.textContent = "Copied";
  } catch {
    $("json").closest("details").open = true; // the browser keeps the clipboard from this page: select it instead
    getSelection().selectAllChildren($("json"));
    target.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => (target.textContent = "Copy JSON"), 2_000);
};

takeFiles(page, {
  onFiles: showFiles,
  onNothing: () => notify("That was no file. Take a JPEG, PNG, WebP, GIF, AVIF or BMP file."),
});

setThreshold(threshold);
meter.clear();
loadModels();
