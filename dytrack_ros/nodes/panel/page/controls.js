// Controls for the tracker's parameters, made from their descriptors.

// The slider of a wider range is not linear, so that small values can be set finely.
const WIDE_RANGE = 100;
const POWER = 3;
const SLIDER_STEPS = 1000;
const ANSWER_PATIENCE_MS = 5000;
// A touch moves a slider only after a horizontal drag this long.
const DRAG_CSS_PX = 8;
const OTHER = "other", FIXED = "fixed at start";
const LAST_GROUPS = [OTHER, FIXED];

export class Controls {
  /** `set(name, value)` is called with what the operator has chosen. */
  constructor(root, set) {
    this.root = root;
    this.set = set;
    this.controls = new Map();
    this.shape = "";
  }

  get(name) { return this.controls.get(name)?.value; }

  /** Show these parameters; existing controls are kept, so that none loses the focus. */
  show(parameters) {
    const shape = JSON.stringify(parameters.map(({ value, ...rest }) => rest));
    if (shape === this.shape) {
      for (const { name, value } of parameters) this.update(name, value);
      return;
    }
    this.shape = shape;
    this.controls.clear();
    const wasOpen = new Map([...this.root.querySelectorAll("details")].map((group) => [group.dataset.group, group.open]));
    this.root.replaceChildren();
    if (!parameters.length) this.root.textContent = "Not known: the tracker does not run.";
    const groups = new Map();
    for (const parameter of parameters) {
      const group = groupOf(parameter);
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(parameter);
    }
    for (const group of LAST_GROUPS.filter((name) => groups.has(name))) {
      const members = groups.get(group);
      groups.delete(group);
      groups.set(group, members);
    }
    for (const [group, members] of groups) {
      const details = make("details", { open: wasOpen.get(group) ?? !LAST_GROUPS.includes(group) });
      details.dataset.group = group;
      details.append(make("summary", { textContent: group }));
      for (const parameter of members) {
        const control = new Control(parameter, (value) => this.set(parameter.name, value));
        this.controls.set(parameter.name, control);
        details.append(control.row);
      }
      this.root.append(details);
    }
    this._showEffects();
  }

  /** A value that is now in force. */
  update(name, value) {
    this.controls.get(name)?.update(value);
    this._showEffects();
  }

  /** Mark parameters that have no effect at present. */
  _showEffects() {
    for (const control of this.controls.values()) {
      const missing = control.acts_when.find(({ name, values }) => this.controls.has(name) && !values.includes(this.get(name)));
      control.showEffect(missing ? `No effect now: acts when ${missing.name} is ${missing.values.join(" or ")}.` : "");
    }
  }

  /** The answer to a change that this page asked for. */
  answer({ name, ok, text, value }) {
    this.controls.get(name)?.answer(ok, text, value);
    this._showEffects();
  }
}

function groupOf({ name, read_only: isFixed, kind }) {
  if (isFixed || kind === "other") return FIXED;
  const dot = name.indexOf(".");
  return dot > 0 ? name.slice(0, dot) : OTHER;
}

class Control {
  constructor(parameter, set) {
    Object.assign(this, parameter); // name, kind, value, description, read_only, choices, from, to
    this._set = set;
    this._isWaiting = false;
    this._next = undefined;
    const id = `parameter-${this.name}`;
    this.row = make("div", { className: "parameter", title: this.description });
    this.inputs = this._makeInputs(id);
    const about = make("div", { className: "about", id: `${id}-about`, popover: "auto", textContent: this._about() });
    const info = make("button", { className: "info", type: "button", textContent: "?", popoverTargetElement: about });
    info.setAttribute("aria-label", `About ${this.name}`);
    this.effect = make("p", { className: "effect" });
    this.reason = make("p", { className: "reason", role: "alert" });
    const head = make("div", { className: "head" });
    head.append(make("label", { className: "name", htmlFor: id, textContent: this.name }), info);
    const box = make("div", { className: "inputs" });
    box.append(...this.inputs);
    for (const input of this.inputs) input.setAttribute("aria-describedby", about.id);
    this.row.append(head, box, this.effect, about, this.reason);
    this._put(this.value);
  }

  showEffect(text) {
    this.row.classList.toggle("inactive", Boolean(text));
    this.effect.textContent = text;
  }

  get isFixed() { return this.read_only || this.kind === "other"; }

  _about() {
    const range = this.from === undefined ? "" : ` [${this.from} to ${this.to}]`;
    return `${this.description}${range}${this.isFixed ? " Can only be set when the tracker starts." : ""}`;
  }

  _makeInputs(id) {
    if (this.isFixed) return [make("output", { id, className: "fixed" })];
    if (this.kind === "bool") {
      return [this._input(id, "checkbox", "change", (input) => input.checked)];
    }
    if (this.kind === "string") {
      if (!this.choices.length) return [this._input(id, "text", "change", (input) => input.value)];
      const select = make("select", { id });
      for (const choice of this.choices) select.append(make("option", { value: choice, textContent: choice }));
      select.addEventListener("change", () => this._ask(select.value));
      return [select];
    }
    const number = this._input(id, "number", "change", (input) => (input.value === "" ? undefined : Number(input.value)));
    number.step = this.kind === "integer" ? 1 : "any";
    if (!this._hasRange()) return [number];
    Object.assign(number, { min: this.from, max: this.to });
    const slider = make("input", { id: `${id}-slider`, type: "range", min: 0, max: SLIDER_STEPS, step: 1 });
    const touch = new SliderTouch(slider);
    slider.addEventListener("input", () => {
      if (touch.isDrag()) this._ask(this._valueAt(slider.value / SLIDER_STEPS));
      else this._put(this.value);
    });
    slider.setAttribute("aria-label", this.name);
    return [slider, number];
  }

  _input(id, type, event, read) {
    const input = make("input", { id, type });
    input.addEventListener(event, () => this._ask(read(input)));
    return input;
  }

  _hasRange() { return Number.isFinite(this.from) && Number.isFinite(this.to) && this.from < this.to; }

  _power() { return this.to - this.from > WIDE_RANGE ? POWER : 1; }

  _valueAt(share) {
    const value = this.from + (this.to - this.from) * share ** this._power();
    if (this.kind === "integer") return Math.round(value);
    return Number(value.toPrecision(4));
  }

  _ask(value) {
    if (value === undefined || Number.isNaN(value)) return this._put(this.value);
    this.reason.textContent = "";
    if (this._isWaiting) {
      this._next = value;
    } else {
      this._isWaiting = true;
      this._asked = value;
      this._set(value);
      this._giveUp = setTimeout(() => this.answer(false, "No answer: try again.", this.value), ANSWER_PATIENCE_MS);
    }
    if (typeof value === "number") this._put(value); // slider and number move together at once
  }

  answer(ok, text, value) {
    clearTimeout(this._giveUp);
    this._isWaiting = false;
    this.reason.textContent = ok ? "" : text;
    if (value !== null && value !== undefined) this.value = value;
    const next = this._next;
    this._next = undefined;
    if (next !== undefined && next !== this._asked) this._ask(next);
    else this._put(this.value);
  }

  update(value) {
    this.value = value;
    if (!this._isWaiting) this._put(value);
  }

  _put(value) {
    for (const input of this.inputs) {
      if (input.type === "checkbox") {
        input.checked = value;
      } else if (input.type === "range") {
        const share = (value - this.from) / (this.to - this.from);
        input.value = Math.round(SLIDER_STEPS * Math.max(0, share) ** (1 / this._power()));
        input.setAttribute("aria-valuetext", value);
      } else if (input.tagName === "OUTPUT") {
        input.textContent = value === "" ? "(empty)" : value;
      } else {
        input.value = this.kind === "double" ? Number(Number(value).toPrecision(6)) : value;
      }
    }
  }
}

/** Tells a horizontal drag on a slider from a tap and from a swipe that scrolls the page. */
class SliderTouch {
  constructor(slider) {
    this.start = null; // where the finger came down, while it is down
    this.isHorizontal = false;
    this.isTouch = false; // the last pointer was a finger; the mouse events that follow a touch count as touch, too
    slider.addEventListener("touchstart", ({ touches }) => {
      this.start = touches.length === 1 ? [touches[0].clientX, touches[0].clientY] : null;
      this.isHorizontal = false;
    }, { passive: true });
    slider.addEventListener("touchmove", ({ touches }) => {
      if (!this.start || this.isHorizontal) return;
      const right = Math.abs(touches[0].clientX - this.start[0]), down = Math.abs(touches[0].clientY - this.start[1]);
      if (touches.length > 1 || (down >= DRAG_CSS_PX && down > right)) this.start = null;
      else this.isHorizontal = right >= DRAG_CSS_PX;
    }, { passive: true });
    for (const name of ["touchend", "touchcancel"]) slider.addEventListener(name, () => { this.start = null; });
    slider.addEventListener("pointerdown", ({ pointerType }) => { this.isTouch = pointerType === "touch"; });
    slider.addEventListener("keydown", () => { this.isTouch = false; });
  }

  /** Whether the slider's present movement is meant: by mouse or keyboard, or a horizontal drag of one finger. */
  isDrag() {
    return !this.isTouch || this.isHorizontal;
  }
}

function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}
