// Live session: sends the latest video frame, receives boxes; one frame in flight. Over a WebSocket, or where that does
// not get through, by POST.

import { detect } from "./api.js";

const CONNECT_WITHIN = 5_000; // ms; some proxies never answer a handshake
const SOCKET_AGAIN = 30_000; // ms between tries of the socket while frames go by POST
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
 *   probe(): why the server cannot be used, "gone" or "key"; null if it answers
 *   onState("connecting" | "open" | "post" | "key" | "lost", seconds until the next try)
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
  #posting = null; // AbortController while frames go by POST

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
    this.#posting?.abort();
    this.#socket?.close();
    this.#encoder.terminate();
  }

  /** Try now; also what a waiting retry does. */
  connect() {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const socket = new WebSocket(this.#to.address());
    const opening = setTimeout(() => socket.close(), CONNECT_WITHIN);
    let useful = false; // a proxy may open a socket that nothing passes
    socket.onopen = () => {
      clearTimeout(opening);
      if (this.#stopped || socket !== this.#socket) return;
      if (this.#posting) this.#endPosting();
      this.#to.onState("open");
      this.#settingsStale = true;
      this.#pump();
    };
    socket.onmessage = ({ data }) => {
      useful = true;
      this.#receive(JSON.parse(data));
    };
    socket.onclose = () => {
      clearTimeout(opening);
      if (!this.#stopped && socket === this.#socket) this.#closed(useful);
    };
    this.#socket = socket;
    if (!this.#posting) this.#to.onState("connecting");
  }

  async #closed(useful) {
    const socket = this.#socket;
    if (this.#posting) {
      this.#timer = setTimeout(() => this.connect(), SOCKET_AGAIN);
      return;
    }
    this.#rest();
    const problem = useful ? "gone" : await this.#to.probe();
    if (this.#stopped || socket !== this.#socket) return;
    if (problem === "key") {
      this.#to.onState("key");
    } else if (problem) {
      this.#retry();
    } else {
      this.#posting = new AbortController();
      this.#to.onState("post");
      this.#timer = setTimeout(() => this.connect(), SOCKET_AGAIN);
      this.#pump();
    }
  }

  #retry() {
    const wait = Math.min(FIRST_WAIT * 2 ** this.#tries++, LONGEST_WAIT) * (0.8 + 0.4 * Math.random());
    this.#to.onState("lost", wait / 1000);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  #endPosting() {
    this.#posting.abort();
    this.#posting = null;
    this.#rest();
  }

  #rest() {
    clearTimeout(this.#watchdog);
    clearTimeout(this.#pause);
    this.#awaited = null;
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
    const open = this.#socket?.readyState === WebSocket.OPEN;
    if (this.#stopped || this.#awaited || !(open || this.#posting)) return;
    if (this.#settingsStale && !this.#posting) {
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
      this.#sent = { way: this.#posting ?? this.#socket, frame: ++this.#frames, captured, skipped, width, height };
      try {
        const bitmap = await createImageBitmap(this.#to.video);
        this.#encoder.postMessage({ id: this.#frames, bitmap, width, height }, [bitmap]);
      } catch {
        this.#awaited = null; // the video has just ended, or changes its size: the next frame will do
      }
    }
  }

  #send({ id, jpeg }) {
    const { way, frame } = this.#sent;
    if (this.#stopped || id !== frame || way !== (this.#posting ?? this.#socket)) return;
    this.#sent.encoded = performance.now();
    this.#sent.bytes = jpeg.byteLength;
    if (this.#posting) this.#post(jpeg);
    else if (way.readyState === WebSocket.OPEN) way.send(jpeg);
  }

  async #post(jpeg) {
    const posting = this.#posting;
    const { model, conf, tiles = "off" } = this.#to.settings();
    try {
      const signal = AbortSignal.any([posting.signal, AbortSignal.timeout(ANSWER_WITHIN)]);
      const { result, stages } = await detect(new Blob([jpeg], { type: "image/jpeg" }), "frame.jpg", { model, conf, tiles, signal });
      if (posting === this.#posting) this.#receive({ type: "detections", ...result, timings_ms: stages ?? {} });
    } catch (error) {
      if (this.#stopped || posting !== this.#posting) return;
      if (error.code === "unreachable") {
        this.#endPosting();
        this.#retry();
      } else {
        const { code, message, retryAfter } = error;
        this.#receive({ type: "error", code, message, retry_after: retryAfter });
      }
    }
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
    this.#watchdog = setTimeout(() => this.#posting ?? this.#socket.close(), ANSWER_WITHIN); // a POST has its own
  }
}
