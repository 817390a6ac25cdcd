// The stream is an <img>, which does not say when it breaks off: once a second the page asks for the state, and
// begins the stream anew where the server knows nothing of it.

const EVERY = 1000; // milliseconds between questions
const STALE = 3; // seconds after which an image is outdated
const at = (id) => document.getElementById(id);
const picture = at("picture");

let viewer = ""; // what this page calls its stream; a new one has a new name
let shown = 0; // number of the latest image
let missed = 0; // questions in a row to which the server did not know the stream
let paused = false;

function watch() {
  viewer = Math.random().toString(36).slice(2);
  missed = 0;
  picture.src = `stream.mjpg?viewer=${viewer}`;
}

function say(kind, text) {
  at("state").dataset.state = kind;
  document.body.dataset.connection = kind;
  if (at("state-text").textContent !== text) at("state-text").textContent = text;
}

async function ask() {
  let state;
  try {
    const answer = await fetch(`state.json?viewer=${viewer}`, { signal: AbortSignal.timeout(5 * EVERY) });
    if (!answer.ok) throw new Error(answer.statusText);
    state = await answer.json();
  } catch {
    missed = 1; // should it come back, its stream is a new one
    say("lost", "No connection; it may have ended");
    return;
  }
  shown = state.picture;
  picture.hidden = shown === 0;
  at("numbers").textContent = state.numbers;
  at("next").hidden = !state.waiting;
  if (!paused && !state.watching && (missed += 1) > 1) watch();
  if (paused) say("waiting", "Paused");
  else if (!state.watching && state.viewers >= state.room) say("lost", `${state.room} viewers are connected already`);
  else if (shown === 0) say("waiting", "No image yet");
  else if (state.waiting) say("live", "One image at a time");
  else if (state.seconds > STALE) say("waiting", `No new image for ${Math.round(state.seconds)} s`);
  else say("live", "Live");
}

function pause() {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", paused);
  if (paused) picture.src = `snapshot.jpg?${shown}`;
  else watch();
  ask();
}

async function next() {
  await fetch(`next?picture=${shown}`, { method: "POST", headers: { "X-Pelee-Page": "1" } }).catch(() => {});
  ask();
}

async function keepAsking() {
  await ask();
  setTimeout(keepAsking, EVERY);
}

at("pause").addEventListener("click", pause);
at("next").addEventListener("click", next);
at("full").hidden = !document.fullscreenEnabled;
at("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else picture.parentElement.requestFullscreen();
});
document.addEventListener("keydown", (event) => {
  if (event.target !== document.body || event.ctrlKey || event.metaKey || event.altKey) return;
  const button = { " ": "pause", s: "save", f: "full", n: "next", ArrowRight: "next" }[event.key];
  if (button && !at(button).hidden) {
    event.preventDefault();
    at(button).click();
  }
});
addEventListener("load", () => { // a stream without an image yet would delay it
  watch();
  keepAsking();
});
