// The connection to the panel's node, and which part of the page each message is for.

import { Charts } from "./charts.js";
import { Condition } from "./condition.js";
import { Controls } from "./controls.js";
import { PictureView } from "./picture.js";
import { Pointing } from "./pointing.js";

const RETRY_MS = [300, 600, 1200, 2000];
const REFRESH_MS = 250;
const UNDO_MS = 10_000;
const KEPT_LOGS = 30;
const LEVEL_NAMES = ["ok", "warning", "error", "stale"];
// The tracker's defaults, while its parameters are not known.
const DEFAULT_KEPT = { seconds: 2, mebibytes: 64 };

const part = (id) => document.getElementById(id);
let socket = null;
let tries = 0;
let sentWidth = 0;
let missing = ""; // why there is no new picture, as the panel's node sees it
let undo = null; // {stamp, box, id, keptUntil} of the target before the last box; without box there was none
let hideUndo = 0;

const condition = new Condition();
const view = new PictureView(part("picture"), () => send({ type: "shown" }), refresh);
const controls = new Controls(part("parameters"), (name, value) => send({ type: "set", name, value }));
const charts = new Charts(part("charts"));
const kept = () => ({
  seconds: controls.get("catch_up.seconds") ?? DEFAULT_KEPT.seconds,
  mebibytes: controls.get("catch_up.mebibytes") ?? DEFAULT_KEPT.mebibytes,
});
const pointing = new Pointing(view, start, say, kept);

const receivers = {
  results({ statuses, boxes }) {
    view.takeResults(statuses, boxes);
    if (!statuses.length) return;
    charts.add(statuses);
    condition.period = view.period;
    condition.takeStatus(statuses.at(-1));
    refresh();
  },
  graph({ tracker, found, missing: reason }) {
    put(part("tracker"), tracker);
    missing = reason;
    condition.isFound = found;
    if (!found) {
      condition.forget();
      view.forgetResults();
      charts.clear();
      part("health").replaceChildren();
    }
    refresh();
  },
  parameters({ parameters }) { controls.show(parameters); },
  values({ values }) { for (const [name, value] of Object.entries(values)) controls.update(name, value); },
  answer(message) {
    const { to, ok, text, target } = message;
    if (to === "set") return controls.answer(message);
    if (to === "start" && ok) {
      say(`The tracker has accepted the box as ${target}.`);
      return offerUndo();
    }
    const isRefused = to === "start" && target !== undefined; // otherwise the tracker may still answer
    if (isRefused) undo = null;
    if (to === "enable" && ok) condition.isEnabled = part("enabled").checked;
    say(`${isRefused ? "Box refused: " : ""}${isRefused ? text : capital(text)}${/[.?]$/.test(text) ? "" : "."}`, !ok);
  },
  diagnostics({ tasks, enabled }) {
    condition.hear("diagnostics");
    condition.isEnabled = enabled;
    if (document.activeElement !== part("enabled")) part("enabled").checked = enabled;
    const entries = Object.entries(tasks).flatMap(([task, { level, text }]) => [
      Object.assign(document.createElement("dt"), { textContent: `${task}: ${LEVEL_NAMES[level] ?? level}` }),
      Object.assign(document.createElement("dd"), { textContent: text, className: `level-${level}` }),
    ]);
    part("health").replaceChildren(...entries);
    refresh();
  },
  log({ text }) {
    const entry = document.createElement("li");
    entry.textContent = `${new Date().toLocaleTimeString()} ${text}`;
    part("log").prepend(entry);
    while (part("log").childElementCount > KEPT_LOGS) part("log").lastElementChild.remove();
  },
  error({ text }) { say(`The panel did not understand this page: ${text}. Reload it.`, true); },
};

function start(stamp, box) {
  const former = view.result();
  const keptUntil = performance.now() + 1000 * Math.max(0, kept().seconds - view.age);
  undo = { stamp: former?.status.stamp, box: condition.target && former?.box, id: condition.target, keptUntil };
  const isSent = send({ type: "start", stamp: String(stamp), box });
  say(isSent ? "Box sent; the tracker has not answered yet." : "Not connected: the box was not sent.", !isSent);
}

/** Offer to undo the last box for a while. */
function offerUndo() {
  clearTimeout(hideUndo);
  part("undo").hidden = !undo;
  if (!undo) return;
  part("undo").textContent = undo.box ? `Undo: follow the former target (${undo.id})` : "Undo: stop following";
  hideUndo = setTimeout(() => { part("undo").hidden = true; }, UNDO_MS);
}

part("undo").addEventListener("click", () => {
  const { stamp, box, keptUntil } = undo;
  undo = null;
  part("undo").hidden = true;
  if (!box) return void send({ type: "stop" });
  // On the image of the former box if the tracker still keeps it, otherwise on the newest one.
  const isKept = performance.now() < keptUntil;
  send({ type: "start", stamp: isKept ? stamp : "0", box });
  say("Box of the former target sent; the tracker has not answered yet.");
});

function send(message) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(message));
  return true;
}

function say(text, isBad = false) {
  part("undo").hidden = true;
  put(part("notice"), text);
  part("notice").classList.toggle("bad", isBad);
}

/** Write only what is new: screen readers read every change. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function capital(text) { return text.charAt(0).toUpperCase() + text.slice(1); }

/** Show what is known, and how old it is. */
function refresh() {
  const { doubt, status, target } = condition;
  const state = target ? status.state : "";
  const isOld = Boolean(doubt);
  put(part("state"), condition.summary);
  part("state").className = isOld ? "old" : state;
  Object.assign(part("state").dataset, { state, target });
  put(part("advice"), condition.advice((name) => controls.get(name)));
  part("stop").disabled = !condition.isConnected || !condition.isFound || !target;
  part("enabled").disabled = !condition.isConnected || !condition.isFound;

  const isOldPicture = condition.isOld("picture");
  part("picture").classList.toggle("stale", isOldPicture);
  put(part("missing"), missing || (isOldPicture && view.picture ? `This picture is ${Math.round(condition.age("picture"))} s old.` : ""));
  part("hint").hidden = isOld || isOldPicture || Boolean(target || view.candidate) || !view.picture || !status;
  if (view.isOld !== isOld) {
    view.isOld = isOld;
    view.draw();
  }

  const isOldHealth = condition.isOld("diagnostics");
  part("health").classList.toggle("stale", isOldHealth);
  put(part("health-age"), isOldHealth && part("health").hasChildNodes() ? `Last known ${Math.round(condition.age("diagnostics"))} s ago:` : "");
}

function tellLooking() {
  sentWidth = Math.round(part("frame").clientWidth * (window.devicePixelRatio || 1));
  send({ type: "look", looking: !document.hidden, width: sentWidth });
}

function showConnection(text, isOff) {
  put(part("connection"), text);
  part("connection").classList.toggle("off", isOff);
}

async function openSession(token) {
  const answer = await fetch("/session", { method: "POST", body: JSON.stringify({ token }) });
  return answer.ok;
}

/** Connect, or ask for the token where one is needed; try again until it works. */
async function connect() {
  try {
    const answer = await fetch("/session/state", { cache: "no-store" });
    if (!answer.ok) return retry(await answer.text());
    const { admitted } = await answer.json();
    part("login").hidden = admitted;
    part("main").hidden = !admitted;
    if (!admitted) return showConnection("the access token is needed", true);
  } catch {
    return retry("the panel's node does not answer");
  }
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket/panel`);
  socket.binaryType = "arraybuffer";
  socket.onopen = tellLooking;
  socket.onmessage = ({ data }) => {
    if (!condition.isConnected) { // not before: a server with too many pages closes at once
      condition.isConnected = true;
      condition.restart();
      tries = 0;
      showConnection("connected", false);
    }
    if (typeof data !== "string") {
      condition.hear("picture");
      return void view.take(data);
    }
    const message = JSON.parse(data);
    receivers[message.type](message);
  };
  socket.onclose = ({ reason }) => retry(reason || "the panel's node does not answer");
}

function retry(reason) {
  socket = null;
  condition.isConnected = false;
  undo = null;
  pointing.cancel();
  say("");
  refresh();
  showConnection(`disconnected: ${reason.trim()}; trying again`, true);
  setTimeout(connect, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
}

part("stop").addEventListener("click", () => {
  if (!send({ type: "stop" })) say("Not connected: the tracker was not stopped.", true);
});
part("enabled").addEventListener("change", ({ target: { checked } }) => {
  if (!send({ type: "enable", enabled: checked })) say("Not connected: the tracker was not told.", true);
});
part("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await openSession(part("token").value)) {
    part("token").value = "";
    connect();
  } else {
    part("login-reason").textContent = "The token is wrong.";
  }
});
document.addEventListener("visibilitychange", () => {
  condition.restart(); // a hidden page gets no news
  tellLooking();
});
new ResizeObserver(() => {
  const width = part("frame").clientWidth * (window.devicePixelRatio || 1);
  if (Math.abs(width - sentWidth) > 0.1 * sentWidth) tellLooking();
}).observe(part("frame"));

const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  // Remove it from the address bar and the history; a cookie that scripts cannot read replaces it.
  history.replaceState(null, "", location.pathname);
  await openSession(token).catch(() => false);
}
setInterval(refresh, REFRESH_MS);
connect();
