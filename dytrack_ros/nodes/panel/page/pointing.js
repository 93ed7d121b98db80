// Drawing a box round the target, by mouse, pen, finger or keyboard.

// A shorter drag is a click.
const MIN_DRAG_CSS_PX = 6;
const MIN_SIDE_PX = 2;
// Time for the init to reach the tracker.
const MARGIN_S = 0.2;
const WORTH_HOLDING_S = 0.3;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pointing {
  /**
   * `start(stamp, box)` is called with a finished box; `say(text)` with a message for the operator; `kept()` returns
   * how many seconds and MiB of images the tracker keeps.
   */
  constructor(view, start, say, kept) {
    this.view = view;
    this.start = start;
    this.say = say;
    this.kept = kept;
    this.drag = null; // {x, y, stamp, held}
    const canvas = view.canvas;
    canvas.addEventListener("pointerdown", (event) => this._down(event));
    canvas.addEventListener("pointermove", (event) => this._move(event));
    canvas.addEventListener("pointerup", (event) => this._up(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    // Two fingers zoom the page: the first one has not begun a box.
    canvas.addEventListener("touchstart", ({ touches }) => { if (touches.length > 1) this.cancel(); }, { passive: true });
    canvas.addEventListener("keydown", (event) => this._key(event));
    canvas.addEventListener("blur", () => { if (!this.drag) this.cancel(); });
  }

  /** Discard the box that is being drawn. */
  cancel() {
    clearTimeout(this._thaw);
    this.drag = null;
    this.view.candidate = null;
    this.view.release();
  }

  _down(event) {
    if (!this.view.picture || event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    this.view.canvas.focus({ preventScroll: true });
    this.view.canvas.setPointerCapture(event.pointerId);
    this.view.candidate = null;
    const [x, y] = this._place(event);
    this.drag = { x, y, clientX: event.clientX, clientY: event.clientY, stamp: this.view.picture.stamp, held: false };
    const seconds = this._holdable();
    if (seconds < WORTH_HOLDING_S) return;
    this.drag.held = true;
    this.view.hold();
    this._thaw = setTimeout(() => {
      if (!this.drag) return;
      this.drag.held = false;
      this.view.release();
      this.say("The tracker no longer keeps the picture on which the box was begun: you now draw on the live one. "
        + "Raise catch_up.seconds and catch_up.mebibytes for more time.");
    }, seconds * 1000);
  }

  /** For how many more seconds the tracker keeps the picture that is on screen. */
  _holdable() {
    const { seconds, mebibytes } = this.kept();
    const { picture, period, age } = this.view;
    if (picture.stamp === 0n) return 0; // without stamps only the newest image can be named
    const frames = mebibytes * 2 ** 20 / (3 * picture.width * picture.height);
    return Math.min(seconds, period ? frames * period : seconds) - age - MARGIN_S;
  }

  _move(event) {
    if (!this.drag) return;
    const [x, y] = this._place(event);
    const { x: x0, y: y0 } = this.drag;
    this.view.candidate = [Math.min(x, x0), Math.min(y, y0), Math.abs(x - x0), Math.abs(y - y0)];
    this.view.draw();
  }

  _up(event) {
    if (!this.drag) return;
    this._move(event);
    const { drag } = this;
    const box = this.view.candidate;
    // The picture at the start of the drag; the live one if the tracker no longer keeps that.
    const stamp = drag.held ? drag.stamp : this.view.picture.stamp;
    const moved = Math.max(Math.abs(event.clientX - drag.clientX), Math.abs(event.clientY - drag.clientY));
    this.cancel();
    if (moved < MIN_DRAG_CSS_PX || box[2] < MIN_SIDE_PX || box[3] < MIN_SIDE_PX) {
      this.say("Drag a box round the target, from one corner to the opposite one.");
    } else {
      this.start(stamp, box);
    }
  }

  _key(event) {
    const { view } = this;
    if (event.key === "Escape" && (this.drag || view.candidate)) {
      this.cancel();
      this.say("Box cancelled; nothing was sent.");
    } else if (event.key === "Enter" && view.candidate && !this.drag) {
      const box = view.candidate, stamp = view.picture.stamp;
      this.cancel();
      this.start(stamp, box);
    } else if (event.key in ARROWS && view.picture && !this.drag && !event.ctrlKey && !event.metaKey) {
      this._nudge(ARROWS[event.key], event.shiftKey, event.altKey);
    } else {
      return;
    }
    event.preventDefault();
  }

  _nudge([right, down], resizes, finely) {
    const { width, height } = this.view.picture;
    let [x, y, w, h] = this.view.candidate ?? [width * 0.375, height * 0.375, width / 4, height / 4];
    if (this.view.candidate) {
      const step = finely ? 1 : Math.max(1, Math.round(width / 64));
      if (resizes) {
        w = clamp(w + right * step, MIN_SIDE_PX, width - x);
        h = clamp(h + down * step, MIN_SIDE_PX, height - y);
      } else {
        x = clamp(x + right * step, 0, width - w);
        y = clamp(y + down * step, 0, height - h);
      }
    }
    this.view.candidate = [x, y, w, h];
    this.view.draw();
    this.say(`Box of ${Math.round(w)} by ${Math.round(h)} at ${Math.round(x)}, ${Math.round(y)}; Enter sends it.`);
  }

  /** Where a pointer is, in pixels of the full image. */
  _place(event) {
    const { width, height } = this.view.picture;
    const area = this.view.canvas.getBoundingClientRect();
    return [
      clamp((event.clientX - area.left) / area.width * width, 0, width),
      clamp((event.clientY - area.top) / area.height * height, 0, height),
    ];
  }
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
