// The picture and the tracker's results, matched by the stamp of the image. Stamps are BigInt, nanoseconds.

const HEAD_BYTES = 16;
// A picture waits this long for its result, so that it appears with its own box and not with an older one.
const PATIENCE_MS = 300;
const KEPT_RESULTS = 200;
// A result of another image stands in for a missing one if the two are this close.
const NEAR_NS = 500_000_000n;
// The side of the search region in sides of the target.
const SEARCH_FACTOR = 4;
// Okabe and Ito's palette, as in the overlay topic.
const COLOURS = { IDLE: "#a0a0a0", TRACKING: "#009e73", UNCERTAIN: "#e69f00", LOST: "#d55e00" };

export class PictureView {
  /** `shown` is called for every decoded picture; `changed` when another one is on screen. */
  constructor(canvas, shown, changed) {
    this.canvas = canvas;
    this.picture = null; // on screen: {stamp, width, height, bitmap}
    this.candidate = null; // [x, y, w, h] that the operator draws
    this.isOld = false; // the results are old: they are drawn in grey
    this.frames = []; // [stamp, frames dropped until then] of the last statuses, for the camera's period
    this._shown = shown;
    this._changed = changed;
    this._waiting = [];
    this._statuses = new Map();
    this._boxes = new Map();
    this._newest = null;
    this._isHeld = false;
    this._taken = this._decoded = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Take a packet of the server: stamp, width and height of the full image, JPEG. */
  async take(packet) {
    const head = new DataView(packet);
    const turn = ++this._taken;
    const picture = {
      stamp: head.getBigUint64(0, true), width: head.getUint32(8, true), height: head.getUint32(12, true),
    };
    try {
      picture.bitmap = await createImageBitmap(new Blob([new Uint8Array(packet, HEAD_BYTES)], { type: "image/jpeg" }));
    } finally {
      this._shown();
    }
    if (turn < this._decoded) return picture.bitmap.close(); // a later one was decoded sooner
    this._decoded = turn;
    picture.arrived = performance.now();
    this._waiting.push(picture);
    this._advance();
    setTimeout(() => this._advance(), PATIENCE_MS + 5);
  }

  takeResults(statuses, boxes) {
    for (const status of statuses) {
      this._keep(this._statuses, status.stamp, status);
      this._newest = status;
      const stamp = BigInt(status.stamp);
      if (this.frames.length && stamp < this.frames.at(-1)[0]) this.frames = [];
      this.frames.push([stamp, status.dropped]);
      if (this.frames.length > 30) this.frames.shift();
    }
    for (const { stamp, box } of boxes) this._keep(this._boxes, stamp, box);
    this._advance();
    this.draw();
  }

  forgetResults() {
    this._statuses.clear();
    this._boxes.clear();
    this._newest = null;
    this.frames = [];
    this.draw();
  }

  /** Keep the picture that is on screen there until `release`. */
  hold() { this._isHeld = true; }

  release() {
    this._isHeld = false;
    this._advance();
    this.draw();
  }

  /** Seconds between two images of the camera, 0 where not known. */
  get period() {
    if (this.frames.length < 2) return 0;
    const [first, firstDropped] = this.frames[0];
    const [last, lastDropped] = this.frames.at(-1);
    return Number(last - first) * 1e-9 / (this.frames.length - 1 + Math.max(0, lastDropped - firstDropped));
  }

  /** Seconds by which the picture on screen is older than the newest result. */
  get age() {
    return this.picture && this._newest ? Math.max(0, Number(BigInt(this._newest.stamp) - this.picture.stamp) * 1e-9) : 0;
  }

  _keep(map, stamp, value) {
    map.delete(stamp);
    map.set(stamp, value);
    if (map.size > KEPT_RESULTS) map.delete(map.keys().next().value);
  }

  _advance() {
    if (this._isHeld) {
      for (const old of this._waiting.splice(0, this._waiting.length - 1)) old.bitmap.close();
      return;
    }
    const now = performance.now();
    const answered = this._newest ? BigInt(this._newest.stamp) : null;
    const isDue = (picture) => answered === null || picture.stamp <= answered || now - picture.arrived > PATIENCE_MS;
    const index = this._waiting.findLastIndex(isDue);
    if (index < 0) return;
    const passed = this._waiting.splice(0, index + 1);
    const next = passed.pop();
    for (const old of passed) old.bitmap.close();
    this.picture?.bitmap.close();
    this.picture = next;
    this.draw();
    this._changed();
  }

  /** The result for the picture on screen: of the same image, or of the nearest one. */
  result() {
    if (!this.picture) return null;
    const stamp = this.picture.stamp;
    let best = null, distance = NEAR_NS + 1n;
    for (const status of this._statuses.values()) {
      const difference = BigInt(status.stamp) - stamp;
      const size = difference < 0n ? -difference : difference;
      if (size < distance) [best, distance] = [{ status, difference }, size];
    }
    return best && { ...best, box: this._boxes.get(best.status.stamp) };
  }

  draw() {
    const { canvas, picture } = this;
    if (!picture) return;
    canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    canvas.style.maxWidth = `${Math.round(70 * picture.width / picture.height)}vh`;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(width * picture.height / picture.width));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.drawImage(picture.bitmap, 0, 0, width, height);
    const scale = width / picture.width, unit = ratio;
    const result = this.result();
    // For tests and assistive tools.
    canvas.dataset.stamp = picture.stamp;
    canvas.dataset.size = `${picture.width} ${picture.height}`;
    canvas.dataset.state = result?.status.state ?? "";
    canvas.dataset.box = result?.box?.join(" ") ?? "";
    canvas.dataset.boxStamp = result?.box ? result.status.stamp : "";
    if (result?.box && result.status.state !== "IDLE") this._drawResult(pen, result, scale, unit);
    if (this.candidate) this._drawCandidate(pen, scale, unit);
  }

  _drawResult(pen, { status, box, difference }, scale, unit) {
    const colour = this.isOld ? COLOURS.IDLE : COLOURS[status.state] ?? COLOURS.IDLE;
    const [x, y, w, h] = box.map((value) => value * scale);
    pen.lineWidth = 3 * unit;
    pen.setLineDash(status.state === "LOST" ? [9 * unit, 6 * unit] : []);
    outline(pen, x, y, w, h, colour, unit);
    if (status.state !== "TRACKING") {
      const side = Math.sqrt(w * h) * SEARCH_FACTOR;
      pen.lineWidth = 1.5 * unit;
      pen.setLineDash([3 * unit, 6 * unit]);
      outline(pen, x + (w - side) / 2, y + (h - side) / 2, side, side, colour, unit);
    }
    pen.setLineDash([]);
    const milliseconds = Number(difference / 1_000_000n);
    const other = milliseconds ? `  box ${Math.abs(milliseconds)} ms ${milliseconds > 0 ? "newer" : "older"}` : "";
    const word = status.state === "LOST" ? "LOST, searching from here" : `${status.state} ${(status.score ?? 0).toFixed(2)}`;
    this._label(pen, x, y, h, word, status, other, colour, unit);
  }

  _label(pen, x, y, h, word, status, other, colour, unit) {
    pen.font = `600 ${14 * unit}px system-ui, sans-serif`;
    const radius = 4.5 * unit, step = 13 * unit, pad = 6 * unit, high = 24 * unit;
    const dots = status.state === "LOST" ? 0 : status.exits;
    const wordWidth = pen.measureText(word).width;
    const width = wordWidth + dots * step + pen.measureText(other).width + 2 * pad + (dots ? pad : 0);
    const left = Math.min(Math.max(0, x), Math.max(0, pen.canvas.width - width));
    const above = y - high - 3 * unit, below = y + h + 3 * unit;
    const top = above >= 0 ? above : Math.min(below, pen.canvas.height - high);
    pen.fillStyle = "rgb(0 0 0 / 78%)";
    pen.fillRect(left, top, width, high);
    pen.fillStyle = "#fff";
    pen.textBaseline = "middle";
    pen.fillText(word, left + pad, top + high / 2);
    let at = left + pad + wordWidth + pad + radius;
    for (let index = 0; index < dots; index++, at += step) {
      pen.beginPath();
      pen.arc(at, top + high / 2, radius, 0, 2 * Math.PI);
      pen.lineWidth = 1.5 * unit;
      pen.strokeStyle = "#fff";
      pen.fillStyle = colour;
      if (index < status.exit) pen.fill();
      pen.stroke();
    }
    pen.fillStyle = "#fff";
    pen.fillText(other, at - radius, top + high / 2);
  }

  _drawCandidate(pen, scale, unit) {
    const [x, y, w, h] = this.candidate.map((value) => value * scale);
    pen.fillStyle = "rgb(0 0 0 / 45%)";
    pen.beginPath();
    pen.rect(0, 0, pen.canvas.width, pen.canvas.height);
    pen.rect(x, y, w, h);
    pen.fill("evenodd");
    pen.lineWidth = 2.5 * unit;
    pen.setLineDash([]);
    outline(pen, x, y, w, h, "#56b4e9", unit);
  }
}

/** A coloured rectangle on a dark one, visible on any picture. */
function outline(pen, x, y, w, h, colour, unit) {
  const width = pen.lineWidth;
  pen.strokeStyle = "rgb(0 0 0 / 65%)";
  pen.lineWidth = width + 2 * unit;
  pen.strokeRect(x, y, w, h);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.strokeRect(x, y, w, h);
}
