// What the page knows of connection, tracker and target, and how old each piece of news is.

// News older than this is shown as old. A slow camera is given three of its periods.
const LIMIT_S = { picture: 2, status: 2, diagnostics: 3.5 };
const PERIODS = 3;

export class Condition {
  constructor() {
    this.isConnected = false;
    this.isFound = false; // the tracker's node is in the ROS graph
    this.isEnabled = true;
    this.status = null; // the newest one
    this.lost = null; // {at: Date, since: ms} while the target is LOST
    this.period = 0; // of the camera, seconds; 0 where not known
    this.restart();
  }

  /** Begin to wait for news, as after a pause in which none was sent. */
  restart() { this._heard = { picture: performance.now(), status: performance.now(), diagnostics: performance.now() }; }

  /** Take note of news: `picture`, `status` or `diagnostics`. */
  hear(kind) { this._heard[kind] = performance.now(); }

  takeStatus(status) {
    this.hear("status");
    this.status = status;
    if (status.state !== "LOST") this.lost = null;
    else this.lost ??= { at: new Date(), since: performance.now() };
  }

  forget() { this.status = this.lost = null; }

  age(kind) { return (performance.now() - this._heard[kind]) / 1000; }

  isOld(kind) { return !this.isConnected || this.age(kind) > Math.max(LIMIT_S[kind], PERIODS * this.period); }

  /** The target's id, empty for none. It may be old. */
  get target() { return this.status && this.status.state !== "IDLE" ? this.status.target : ""; }

  /** Why the target's state is not known at present; empty where it is. */
  get doubt() {
    if (!this.isConnected) return "not connected to the panel's node";
    if (!this.isFound) return "no tracker";
    if (!this.isEnabled) return "tracker disabled: it ignores images";
    if (!this.isOld("status")) return "";
    const seconds = Math.round(this.age("status"));
    if (this.isOld("picture")) return `no image for ${Math.round(this.age("picture"))} s`;
    return `no answer from the tracker for ${seconds} s: has it ended?`;
  }

  /** The target's state in a few words. */
  get summary() {
    const known = this.target ? `${this.status.state} ${this.target}` : "no target";
    if (!this.doubt) return known;
    return this.target ? `${this.doubt} (last known: ${known})` : this.doubt;
  }

  /** Why the target is lost, since when, and what helps; empty where it is not. `value(name)` gives a parameter. */
  advice(value) {
    if (!this.lost || this.doubt) return "";
    const seconds = Math.round((performance.now() - this.lost.since) / 1000);
    const limit = value("lost.score"), frames = value("lost.frames");
    const why = limit === undefined ? "" : `: the score was below ${limit} (lost.score) for ${frames} frames`;
    const where = value("lost.search") ? "in the whole image" : "where it was last seen";
    return `Lost since ${this.lost.at.toLocaleTimeString()} (${seconds} s)${why}. The tracker searches ${where}. `
      + "Bring the target back into view, or drag a new box.";
  }
}
