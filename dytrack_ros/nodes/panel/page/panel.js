// The connection to the panel's node, and which part of the page each message is for.

import { Charts } from "./charts.js";
import { Controls } from "./controls.js";
import { PictureView } from "./picture.js";
import { Pointing } from "./pointing.js";

const RETRY_MS = [300, 600, 1200, 2000];
const KEPT_LOGS = 30;
const LEVEL_NAMES = ["ok", "warning", "error", "stale"];
// As in the tracker, where its parameters are not known yet.
const DEFAULT_KEPT = { seconds: 2, mebibytes: 64 };

const part = (id) => document.getElementById(id);
let socket = null;
let tries = 0;
let sentWidth = 0;
let target = ""; // that is followed, empty for none

const view = new PictureView(part("picture"), () => send({ type: "shown" }), () => {});
const controls = new Controls(part("parameters"), (name, value) => send({ type: "set", name, value }));
const charts = new Charts(part("charts"));
const pointing = new Pointing(
  view,
  (stamp, box) => {
    const isSent = send({ type: "start", stamp: String(stamp), box });
    say(isSent ? "The box is sent." : "Not connected: the box was not sent.", !isSent);
  },
  say,
  () => ({
    seconds: controls.get("catch_up.seconds") ?? DEFAULT_KEPT.seconds,
    mebibytes: controls.get("catch_up.mebibytes") ?? DEFAULT_KEPT.mebibytes,
  }),
);

const receivers = {
  results({ statuses, boxes }) {
    view.takeResults(statuses, boxes);
    if (!statuses.length) return;
    charts.add(statuses);
    showState(statuses.at(-1));
  },
  graph({ tracker, found, missing }) {
    part("tracker").textContent = tracker;
    put(part("missing"), missing);
    part("stop").disabled = part("enabled").disabled = !found;
    if (!found) {
      view.forgetResults();
      charts.clear();
      showState(null);
      part("health").replaceChildren();
    }
  },
  parameters({ parameters }) { controls.show(parameters); },
  values({ values }) { for (const [name, value] of Object.entries(values)) controls.update(name, value); },
  answer(message) {
    if (message.to === "set") controls.answer(message);
    else if (!message.ok) say(message.text, true);
    else if (message.text) say(capital(message.text) + ".");
  },
  diagnostics({ tasks, enabled }) {
    if (document.activeElement !== part("enabled")) part("enabled").checked = enabled;
    const entries = Object.entries(tasks).flatMap(([task, { level, text }]) => [
      Object.assign(document.createElement("dt"), { textContent: `${task}: ${LEVEL_NAMES[level] ?? level}` }),
      Object.assign(document.createElement("dd"), { textContent: text, className: `level-${level}` }),
    ]);
    part("health").replaceChildren(...entries);
  },
  log({ text }) {
    const entry = document.createElement("li");
    entry.textContent = `${new Date().toLocaleTimeString()} ${text}`;
    part("log").prepend(entry);
    while (part("log").childElementCount > KEPT_LOGS) part("log").lastElementChild.remove();
    if (text.startsWith("init refused")) say(capital(text), true);
  },
  error({ text }) { say(`The panel did not understand this page: ${text}. Reload it.`, true); },
};

function send(message) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(message));
  return true;
}

function say(text, isBad = false) {
  put(part("notice"), text);
  part("notice").classList.toggle("bad", isBad);
}

/** Only what is new is written: every writing would be read out. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function capital(text) { return text.charAt(0).toUpperCase() + text.slice(1); }

function showState(status) {
  const isIdle = !status || status.state === "IDLE";
  const now = isIdle ? "" : status.target;
  if (now && now !== target) say(`Follows ${now}.`);
  target = now;
  put(part("state"), isIdle ? "no target" : `${status.state} ${status.target}`);
  part("state").className = isIdle ? "" : status.state;
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

/** Connect, or ask for the token where one is needed; try again for ever. */
async function connect() {
  try {
    const answer = await fetch("/session/state", { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    const { admitted } = await answer.json();
    part("login").hidden = admitted;
    part("main").hidden = !admitted;
    if (!admitted) return showConnection("the access token is needed", true);
  } catch (error) {
    return retry();
  }
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket/panel`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    tries = 0;
    showConnection("connected", false);
    tellLooking();
  };
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return void view.take(data);
    const message = JSON.parse(data);
    receivers[message.type](message);
  };
  socket.onclose = retry;
}

function retry() {
  socket = null;
  pointing.cancel();
  view.forgetResults();
  showConnection("disconnected: the panel's node does not answer; trying again", true);
  setTimeout(connect, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
}

part("stop").addEventListener("click", () => {
  if (!send({ type: "stop" })) say("Not connected: the tracker was not stopped.", true);
});
part("enabled").addEventListener("change", ({ target: { checked } }) => {
  if (!send({ type: "enable", enabled: checked })) say("Not connected: nothing has changed.", true);
});
part("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await openSession(part("token").value)) {
    part("token").value = "";
    connect();
  } else {
    part("login-reason").textContent = "This is not the token.";
  }
});
document.addEventListener("visibilitychange", tellLooking);
new ResizeObserver(() => {
  const width = part("frame").clientWidth * (window.devicePixelRatio || 1);
  if (Math.abs(width - sentWidth) > 0.1 * sentWidth) tellLooking();
}).observe(part("frame"));

const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  // It leaves the address bar and the history at once, and stays behind in a cookie that scripts cannot read.
  history.replaceState(null, "", location.pathname);
  await openSession(token).catch(() => false);
}
connect();
