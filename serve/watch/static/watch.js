// Page of a watch: cameras, events with filters, the stream of changes.

import { request, withKey } from "./api.js";
import { Cameras } from "./cameras.js";
import { EventDetail } from "./event_detail.js";
import { EventList } from "./event_list.js";
import { Filters } from "./filters.js";
import { hideKeyForm, keyIsWanted, onKey } from "./key_form.js";
import { hideNotice, notify } from "./notice.js";

const PAGE = 50; // events
const AGAIN = 3_000; // ms between attempts while the server is unreachable
const MOST_EXPORTED = 500;
const CONNECTION = { connecting: "Connecting", open: "Live", lost: "No server", key: "Key wanted" };

const $ = (id) => document.getElementById(id);
const list = new EventList($("list"), { onOpen: open, onSelect: showSelection });
const detail = new EventDetail({ neighbor: (id, step) => list.neighbor(id, step), onClose: (id) => list.focus(id) });
const filters = new Filters($("filters"), { onChange: loadEvents });
const cameras = new Cameras($("cameras"), { onNames: (names) => filters.offer("camera", names) });

let next = null; // cursor of the page after the last one
let loading = 0; // number of the latest load
let stream = null;
let latest = 0; // number of the latest change that is shown
let retry = 0;

// ---- loading

async function start() {
  clearTimeout(retry);
  stream?.close();
  setConnection("connecting");
  try {
    await cameras.start();
    if (!(await loadEvents())) return;
    hideKeyForm();
    hideNotice();
    connect();
  } catch (error) {
    failed(error);
  }
}

/** Load the first page for the filters; whether it came. */
async function loadEvents() {
  list.clear();
  next = null;
  return loadPage();
}

async function loadPage() {
  const mine = ++loading;
  const query = filters.query();
  query.set("limit", PAGE);
  if (next) query.set("cursor", next);
  $("more").disabled = true;
  try {
    const page = await (await request(`events?${query}`)).json();
    if (mine !== loading) return false;
    next = page.next;
    put(page.events);
    return true;
  } catch (error) {
    if (mine === loading) failed(error);
    return false;
  } finally {
    $("more").disabled = false;
    $("more").hidden = !next;
    showCount();
  }
}

function put(events) {
  for (const name of ["label", "zone", "camera"]) filters.offer(name, events.map((event) => event[name]));
  list.put(events);
  for (const event of events) {
    latest = Math.max(latest, event.change);
    if (event.id === detail.id) detail.update(event);
  }
}

// ---- the stream of changes

function connect() {
  stream?.close();
  const source = (stream = new EventSource(withKey(`events/stream?after=${latest}`)));
  source.onopen = () => {
    setConnection("open");
    hideNotice();
  };
  source.onerror = () => {
    if (source !== stream) return;
    setConnection("lost");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again
    clearTimeout(retry);
    retry = setTimeout(start, AGAIN);
  };
  for (const phase of ["begin", "update", "finish"]) {
    source.addEventListener(phase, ({ data }) => {
      const event = JSON.parse(data);
      latest = Math.max(latest, event.change);
      const last = list.events.at(-1);
      // An event of a later page comes with that page.
      if (filters.passes(event) && (!next || !last || event.start >= last.start)) put([event]);
      showCount();
    });
  }
}

function setConnection(state) {
  $("connection").dataset.state = state;
  $("connection-text").textContent = CONNECTION[state];
}

function failed(error) {
  if (keyIsWanted(error)) {
    setConnection("key");
    return;
  }
  setConnection("lost");
  notify(error.message, { label: "Try now", run: start });
  clearTimeout(retry);
  retry = setTimeout(start, AGAIN);
}

// ---- display

function open(id) {
  detail.open(list.events.find((event) => event.id === id));
}

function showCount() {
  const count = list.events.length;
  $("count").textContent = count ? `${count}${next ? " and more" : ""}` : "";
  $("nothing").hidden = count > 0;
  $("nothing").textContent = filters.query().size ? "No event passes these filters." : "No events yet.";
  showSelection();
}

function showSelection() {
  const chosen = list.selected.size;
  $("selected").textContent = chosen ? `${chosen} selected` : "";
  $("unselect").hidden = chosen === 0;
  const link = $("export");
  link.textContent = chosen ? "Download selected events" : "Download these events";
  const query = chosen ? new URLSearchParams({ ids: [...list.selected].join() }) : filters.query();
  if (list.events.length && chosen <= MOST_EXPORTED) link.href = withKey(`events/export?${query}`);
  else link.removeAttribute("href");
}

$("notice-close").onclick = hideNotice;
$("unselect").onclick = () => list.unselect();
$("more").onclick = loadPage;
onKey(start);
new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && next && !$("more").disabled && loadPage()).observe($("more"));

start();
