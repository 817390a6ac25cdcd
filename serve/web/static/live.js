// WebSocket session: sends the latest video frame, receives boxes; one frame in flight.

const ANSWER_WITHIN = 10_000; // ms; after this the server counts as unreachable
const FIRST_WAIT = 500; // ms until the first retry, doubled for each further one
const LONGEST_WAIT = 15_000;
const BUSY_WAIT = 300; // ms until the next frame after the server refused one and did not say when

/**
 * What it needs and tells:
 *   video, address(): the playing element, and the socket's URL
 *   settings(): {model, conf, ...} to send, whenever `settingsChanged` was called, before the next frame
 *   longSide(): pixels of a frame's longer side when it is sent
 *   onAnswer({answer, frame, skipped, sent, captured, encoded, answered}): times in ms of performance.now()
 *   onState("connecting" | "open" | "lost", seconds until the next try)
 *   onRefusal({code, message}, "settings" | "frame"): the server refused what was sent
 */
export class Live {
  #to;
  #encoder = new Worker(new URL("encoder.js", import.meta.url));
  #socket = null;
  #awaited = null; // "settings" | "frame": the one message in flight
  #settingsStale = true;
  #newest = null; // metadata of a video frame not yet sent
  #sent = null; // of the frame in flight
  #presented = 0; // number of the last video frame sent, as the video counts
  #frames = 0;
  #tries = 0;
  #timer = 0;
  #watchdog = 0;
  #pause = 0;
  #stopped = false;

  constructor(to) {
    this.#to = to;
    this.#encoder.onmessage = ({ data }) => this.#send(data);
    this.#watch();
    this.connect();
  }

  settingsChanged() {
    this.#settingsStale = true;
    this.#pump();
  }

  stop() {
    this.#stopped = true;
    for (const timer of [this.#timer, this.#watchdog, this.#pause]) clearTimeout(timer);
    this.#socket?.close();
    this.#encoder.terminate();
  }

  /** Try now; also what a waiting retry does. */
  connect() {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const socket = new WebSocket(this.#to.address());
    socket.onopen = () => {
      this.#to.onState("open");
      this.#settingsStale = true;
      this.#pump();
    };
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = () => {
      if (this.#stopped || socket !== this.#socket) return;
      clearTimeout(this.#watchdog);
      clearTimeout(this.#pause);
      this.#awaited = null;
      const wait = Math.min(FIRST_WAIT * 2 ** this.#tries++, LONGEST_WAIT) * (0.8 + 0.4 * Math.random());
      this.#to.onState("lost", wait / 1000);
      this.#timer = setTimeout(() => this.connect(), wait);
    };
    this.#socket = socket;
    this.#to.onState("connecting");
  }

  // Each new frame of the video, as it is shown.
  #watch() {
    const { video } = this.#to;
    const next = (now, metadata) => {
      if (this.#stopped) return;
      this.#newest = {
        captured: metadata?.captureTime ?? now,
        presented: metadata?.presentedFrames ?? this.#presented + 1,
      };
      this.#pump();
      arm();
    };
    const arm = () => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next));
    arm();
  }

  async #pump() {
    if (this.#stopped || this.#socket?.readyState !== WebSocket.OPEN || this.#awaited) return;
    if (this.#settingsStale) {
      this.#settingsStale = false;
      this.#await("settings");
      this.#socket.send(JSON.stringify({ type: "settings", ...this.#to.settings() }));
    } else if (this.#newest && this.#to.video.videoWidth) {
      this.#await("frame");
      const { captured, presented } = this.#newest;
      const skipped = this.#presented ? Math.max(0, presented - this.#presented - 1) : 0;
      this.#newest = null;
      this.#presented = presented;
      const { videoWidth, videoHeight } = this.#to.video;
      const scale = Math.min(1, this.#to.longSide() / Math.max(videoWidth, videoHeight));
      const [width, height] = [Math.round(videoWidth * scale), Math.round(videoHeight * scale)];
      this.#sent = { socket: this.#socket, frame: ++this.#frames, captured, skipped, width, height };
      try {
        const bitmap = await createImageBitmap(this.#to.video);
        this.#encoder.postMessage({ id: this.#frames, bitmap, width, height }, [bitmap]);
      } catch {
        this.#awaited = null; // the video has just ended, or changes its size: the next frame will do
      }
    }
  }

  #send({ id, jpeg }) {
    const { socket, frame } = this.#sent;
    if (this.#stopped || id !== frame || socket !== this.#socket || socket.readyState !== WebSocket.OPEN) return;
    this.#sent.encoded = performance.now();
    this.#sent.bytes = jpeg.byteLength;
    socket.send(jpeg);
  }

  #receive(answer) {
    const answered = performance.now();
    const about = this.#awaited;
    if (this.#stopped) return;
    this.#awaited = null;
    clearTimeout(this.#watchdog);
    if (answer.type === "error") {
      this.#to.onRefusal(answer, about);
      this.#awaited = "pause"; // backs off from a server that rejects frames
      this.#pause = setTimeout(() => {
        this.#awaited = null;
        this.#pump();
      }, 1000 * (answer.retry_after ?? 0) || BUSY_WAIT);
      return;
    }
    this.#tries = 0;
    if (about === "frame") this.#to.onAnswer({ ...this.#sent, answer, answered });
    this.#pump();
  }

  #await(what) {
    this.#awaited = what;
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#socket.close(), ANSWER_WITHIN);
  }
}
