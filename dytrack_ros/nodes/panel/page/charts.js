// Strip charts of the last seconds.

const SPAN_S = 30;
const REDRAW_MS = 200;
const REASONS = { QUALITY: "good enough", BUDGET: "the budget", DEADLINE: "the deadline", LAST_EXIT: "last exit" };
const STATES = { TRACKING: "--tracking", UNCERTAIN: "--uncertain", LOST: "--lost", IDLE: "--idle" };

export class Charts {
  constructor(root) {
    this.root = root;
    this.samples = []; // statuses, each with `t` in seconds
    this.due = 0;
  }

  add(statuses) {
    for (const status of statuses) {
      // A camera without stamps sends 0: then the time of arrival counts.
      const t = status.stamp === "0" ? performance.now() * 1e-3 : Number(BigInt(status.stamp) / 1_000_000n) * 1e-3;
      const last = this.samples.at(-1);
      if (last && t < last.t) this.samples = []; // a bag that loops
      this.samples.push({ ...status, t });
    }
    const newest = this.samples.at(-1)?.t ?? 0;
    while (this.samples.length && this.samples[0].t < newest - SPAN_S) this.samples.shift();
    const now = performance.now();
    if (now >= this.due) {
      this.due = now + REDRAW_MS;
      this.draw();
    }
  }

  clear() {
    this.samples = [];
    this.draw();
  }

  draw() {
    const { samples } = this;
    const last = samples.at(-1);
    const exits = last?.exits ?? 3;
    this._exits(samples, last, exits);
    this._scores(samples, last);
    this._latencies(samples, last);
    this._drops(samples, last);
  }

  _exits(samples, last, exits) {
    const strip = new Strip(this.root, "exit", samples, 0.5, exits + 0.5);
    for (let exit = 1; exit <= exits; exit++) strip.level(exit, String(exit));
    strip.dots(samples.filter((sample) => sample.exit), (sample) => sample.exit, (sample) => STATES[sample.state]);
    const reason = last?.thresholds.length ? REASONS[last.decided_by] ?? last.decided_by : "fixed";
    strip.say(last?.exit ? `${last.exit} of ${exits}: ${reason}` : "none");
  }

  _scores(samples, last) {
    const strip = new Strip(this.root, "score", samples, 0, 1);
    strip.level(0.5, "0.5");
    const count = Math.max(0, ...samples.map((sample) => sample.thresholds.length));
    for (let index = 0; index < count; index++) {
      const colour = index ? "--uncertain" : "--accent";
      strip.line(samples, (sample) => sample.asked[index] ?? null, colour, [4, 3]);
      strip.line(samples, (sample) => sample.thresholds[index] ?? null, colour);
    }
    strip.line(samples, (sample) => (sample.exit ? sample.score : null), "--ink");
    const rules = last?.thresholds.map((threshold, index) => `exit ${index + 1} taken above ${(threshold ?? 0).toFixed(2)}`);
    strip.say(last?.exit ? [(last.score ?? 0).toFixed(2), ...rules].join(", ") : "none");
  }

  _latencies(samples, last) {
    const values = samples.flatMap((sample) => [sample.latency ?? 0, sample.budget ?? 0]);
    const top = niceTop(Math.max(10, ...values));
    const strip = new Strip(this.root, "latency", samples, 0, top);
    strip.level(top / 2, `${top / 2} ms`);
    strip.line(samples, (sample) => sample.budget || null, "--accent", [4, 3]);
    strip.line(samples, (sample) => sample.latency, "--ink");
    const budget = last?.budget ? `, budget ${last.budget.toFixed(0)} ms` : ", no budget";
    strip.say(last ? `${(last.latency ?? 0).toFixed(0)} ms${budget}` : "none");
  }

  _drops(samples, last) {
    const bins = new Map();
    for (let index = 1; index < samples.length; index++) {
      const second = Math.floor(samples[index].t);
      const dropped = Math.max(0, samples[index].dropped - samples[index - 1].dropped);
      bins.set(second, (bins.get(second) ?? 0) + dropped);
    }
    const top = niceTop(Math.max(4, ...bins.values()));
    const strip = new Strip(this.root, "drops", samples, 0, top);
    strip.level(top / 2, `${top / 2} a second`);
    strip.bars(bins, "--uncertain");
    const recent = [...bins.values()].reduce((sum, count) => sum + count, 0);
    strip.say(last ? `${recent} in ${SPAN_S} s, ${last.dropped} since the tracker started` : "none");
  }
}

class Strip {
  constructor(root, name, samples, low, high) {
    this.canvas = root.querySelector(`#${name}-chart`);
    this.output = root.querySelector(`#${name}-now`);
    this.style = getComputedStyle(root);
    this.low = low;
    this.high = high;
    this.ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * this.ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * this.ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.end = samples.at(-1)?.t ?? 0;
    this.pen = this.canvas.getContext("2d");
    this.pen.clearRect(0, 0, width, height);
    this.pen.font = `${11 * this.ratio}px system-ui, sans-serif`;
  }

  _x(t) { return this.canvas.width * (1 - (this.end - t) / SPAN_S); }

  _y(value) {
    const margin = 4 * this.ratio;
    const share = (value - this.low) / (this.high - this.low);
    return this.canvas.height - margin - Math.min(Math.max(share, 0), 1) * (this.canvas.height - 2 * margin);
  }

  _colour(name) { return this.style.getPropertyValue(name).trim(); }

  level(value, text) {
    this.pen.strokeStyle = this._colour("--line");
    this.pen.lineWidth = this.ratio;
    this.pen.setLineDash([]);
    this.pen.beginPath();
    this.pen.moveTo(0, this._y(value));
    this.pen.lineTo(this.canvas.width, this._y(value));
    this.pen.stroke();
    this.pen.fillStyle = this._colour("--faint");
    this.pen.fillText(text, 3 * this.ratio, this._y(value) - 2 * this.ratio);
  }

  line(samples, value, colour, dash = []) {
    this.pen.strokeStyle = this._colour(colour);
    this.pen.lineWidth = 1.5 * this.ratio;
    this.pen.setLineDash(dash.map((length) => length * this.ratio));
    this.pen.beginPath();
    let isOpen = false;
    for (const sample of samples) {
      const here = value(sample);
      if (here === null || here === undefined) {
        isOpen = false;
        continue;
      }
      if (isOpen) this.pen.lineTo(this._x(sample.t), this._y(here));
      else this.pen.moveTo(this._x(sample.t), this._y(here));
      isOpen = true;
    }
    this.pen.stroke();
  }

  dots(samples, value, colour) {
    const side = 3 * this.ratio;
    for (const sample of samples) {
      this.pen.fillStyle = this._colour(colour(sample) ?? "--ink");
      this.pen.fillRect(this._x(sample.t) - side / 2, this._y(value(sample)) - side / 2, side, side);
    }
  }

  bars(bins, colour) {
    this.pen.fillStyle = this._colour(colour);
    const width = this.canvas.width / SPAN_S;
    for (const [second, value] of bins) {
      const top = this._y(value);
      this.pen.fillRect(this._x(second), top, Math.max(1, width - this.ratio), this._y(0) - top);
    }
  }

  say(text) { this.output.textContent = text; }
}

/** The next of 1, 2, 5, 10, 20 ... that is not less. */
function niceTop(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * unit).find((top) => top >= value);
}
