/* ECG paper that is moved, zoomed and marked: 25 mm/s and 10 mm/mV in proportion. */

import { colour, grid, line, range, sharp, signal } from "./ask.js";

const SCREEN = 96 / 25.4; // CSS pixels per millimetre
const LEAST = 1.3, MOST = 14; // pixels per mm between which both axes go together
const SLOWEST = 0.002; // pixels per mm of time: a day on a screen
const GUTTER = 44, PAD = 3;
const POINTS = 4000, WHOLE = 7500; // buckets of one answer; samples that are fetched at once

const roomy = ([low, high], least) => { // one lead alone deserves more paper
  const more = Math.max(0, least - (high - low)) / 2;
  return [low - Math.floor(more * 2) / 2, high + Math.ceil(more * 2) / 2];
};

export class Paper {
  constructor(canvas, strip, hooks) {
    Object.assign(this, { canvas, strip, hooks });
    this.mode = "move"; this.everyLead = false;
    this.gaps = []; this.chosen = null; this.mark = null;
    this.pointers = new Map();
    this.frame = 0;
    this.listen();
    new ResizeObserver(() => { if (this.item) { this.keep(); this.draw(); } }).observe(canvas.parentElement);
  }

  /* --- what is shown ------------------------------------------------------------------------- */
  async show(item) {
    this.abort?.abort();
    this.abort = new AbortController();
    Object.assign(this, { item, held: null, ranges: null, over: null, gaps: [], chosen: null, mark: null });
    const first = Math.min(item.seconds, Math.max(12, WHOLE / item.rate));
    const [held, over] = await Promise.all([
      signal(item.key, { start: 0, stop: first, points: POINTS }, this.abort.signal),
      signal(item.key, { start: 0, stop: item.seconds, points: 700, lead: item.leads.includes("II") ? "II" : item.leads[0] }, this.abort.signal),
    ]);
    if (this.item !== item) return;
    Object.assign(this, { held, over });
    this.ranges = held.y.map((y) => roomy(range(y), item.leads.length === 1 ? 3 : 1.5));
    this.fit();
  }
  get width() { return Math.max(this.canvas.parentElement.clientWidth - GUTTER, 50); }
  get mx() { return this.zoom; }
  get my() { return Math.min(Math.max(this.zoom, LEAST), MOST); }
  get seconds() { return this.width / (25 * this.zoom); }
  fit() {
    const whole = this.width / (25 * Math.min(this.item.seconds, 12));
    this.zoom = Math.min(Math.max(whole, 2.2), SCREEN * 1.4);
    this.start = 0;
    this.keep(); this.draw();
  }
  actual() { this.around(SCREEN, this.width / 2); }
  by(factor, x = this.width / 2) { this.around(this.zoom * factor, x); }
  around(zoom, x) { // what is under x stays there
    const time = this.start + x / (25 * this.zoom);
    this.zoom = zoom; this.keep();
    this.start = time - x / (25 * this.zoom);
    this.keep(); this.draw();
  }
  move(seconds) { this.start += seconds; this.keep(); this.draw(); }
  go(seconds) { this.start = seconds - this.seconds / 2; this.keep(); this.draw(); }
  keep() {
    const least = Math.max(Math.min(this.width / (25 * this.item.seconds), 2.2), SLOWEST);
    this.zoom = Math.min(Math.max(this.zoom, least), MOST);
    this.start = Math.max(0, Math.min(this.start, this.item.seconds - this.seconds));
  }

  /* --- fetching what is needed ---------------------------------------------------------------- */
  need() {
    const { held, item } = this, [a, b] = [this.start, Math.min(this.start + this.seconds, item.seconds)];
    const end = held.start + held.spacing * held.count;
    const fine = held.exact || held.spacing <= 1.5 / (25 * this.zoom);
    if (a >= held.start - held.spacing && b <= end + 2 * held.spacing && fine) return;
    clearTimeout(this.later);
    this.later = setTimeout(async () => {
      const span = this.seconds, start = Math.max(0, this.start - span), stop = Math.min(item.seconds, this.start + 2 * span);
      try {
        const found = await signal(item.key, { start, stop, points: Math.min(POINTS, Math.ceil(this.width * 3)) }, this.abort.signal);
        if (this.item !== item) return;
        this.held = found; this.draw();
      } catch (error) { if (error.name !== "AbortError") this.hooks.trouble(error); }
    }, 60);
  }

  /* --- drawing --------------------------------------------------------------------------------- */
  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => { if (this.ranges) { this.paint(); this.overview(); this.hooks.drawn(this); this.need(); } });
  }
  get rows() { // top and height of every lead, in pixels
    let top = 0;
    return this.ranges.map(([low, high]) => {
      const row = { top, low, high, tall: (high - low) * 10 * this.my };
      top += row.tall; return row;
    });
  }
  x(seconds) { return GUTTER + (seconds - this.start) * 25 * this.zoom; }
  paint() {
    const { canvas, held, item } = this, rows = this.rows;
    const width = this.width + GUTTER, height = rows.reduce((all, row) => all + row.tall, 0);
    canvas.style.height = `${height}px`;
    const pen = sharp(canvas, width, height);
    const end = Math.min(width, this.x(item.seconds));
    pen.fillStyle = colour("--page"); pen.fillRect(0, 0, width, height);
    pen.save();
    pen.beginPath(); pen.rect(GUTTER, 0, Math.max(end - GUTTER, 0), height); pen.clip();
    grid(pen, GUTTER, width - GUTTER, height, this.mx, this.my, this.start * 25);
    this.missing(pen, rows);
    this.bands(pen, rows, height);
    pen.lineJoin = "round";
    const from = Math.floor((this.start - held.start) / held.spacing) - 1;
    const to = Math.ceil((this.start + this.seconds - held.start) / held.spacing) + 2;
    const x = (i) => this.x(held.start + i * held.spacing);
    held.y.forEach((y, lead) => {
      const row = rows[lead], at = (v) => row.top + (row.high - v) * 10 * this.my;
      const inside = this.gaps.filter((gap) => gap.lead === null || gap.lead === item.leads[lead]);
      pen.strokeStyle = colour("--trace"); pen.lineWidth = 1.3;
      if (!inside.length) line(pen, y, from, to, x, at);
      else this.around_gaps(pen, y, from, to, x, at, inside);
      for (const gap of inside) {
        for (const fill of gap.fills.filter((one) => one.lead === item.leads[lead])) {
          pen.strokeStyle = colour("--c1"); pen.lineWidth = 2;
          line(pen, fill.y, 0, fill.y.length, (i) => this.x(fill.start + i / item.rate), at);
        }
      }
    });
    pen.restore();
    this.gutter(pen, rows);
  }
  around_gaps(pen, y, from, to, x, at, gaps) { // what is hidden is drawn faint
    const { held } = this;
    const hidden = (i) => { const t = held.start + i * held.spacing; return gaps.some((gap) => t >= gap.start - 1e-6 && t < gap.stop - 1e-6); };
    const seen = y.slice(), truth = y.slice();
    for (let i = Math.max(from, 0); i < Math.min(to, y.length); i++) {
      if (hidden(i)) { seen[i] = NaN; if (!hidden(i - 1) && i) truth[i - 1] = y[i - 1]; } else truth[i] = NaN;
    }
    line(pen, seen, from, to, x, at);
    pen.save();
    pen.strokeStyle = colour("--hidden"); pen.setLineDash([2, 3]); pen.lineWidth = 1.1;
    line(pen, truth, from, to, x, at);
    pen.restore();
  }
  missing(pen, rows) { // what was not measured is hatched
    const { held } = this;
    pen.fillStyle = colour("--gap");
    held.y.forEach((y, lead) => {
      for (let i = 0; i < y.length; i++) {
        if (y[i] === y[i]) continue;
        let j = i; while (j < y.length && y[j] !== y[j]) j++;
        const a = this.x(held.start + i * held.spacing), b = this.x(held.start + j * held.spacing);
        if (b > GUTTER && a < this.width + GUTTER) pen.fillRect(a, rows[lead].top + 1, Math.max(b - a, 1), rows[lead].tall - 2);
        i = j;
      }
    });
  }
  bands(pen, rows, height) {
    const band = ({ start, stop, lead }, fill) => {
      const row = lead === null || lead === undefined ? null : rows[this.item.leads.indexOf(lead)];
      pen.fillStyle = fill;
      pen.fillRect(this.x(start), row ? row.top : 0, this.x(stop) - this.x(start), row ? row.tall : height);
    };
    for (const gap of this.gaps) band(gap, colour("--band"));
    if (this.chosen) band(this.chosen, colour("--pick"));
    if (this.mark) band(this.mark, colour(this.mark.kind === "hide" ? "--band" : "--pick"));
  }
  gutter(pen, rows) {
    const { leads, unit } = this.item;
    pen.font = `600 12.5px ${colour("--sans")}`; pen.textBaseline = "top";
    rows.forEach((row, i) => {
      const zero = row.top + row.high * 10 * this.my, bar = 10 * this.my;
      pen.fillStyle = colour("--ink");
      pen.fillText(leads[i], PAD, row.top + 6, GUTTER - 2 * PAD);
      pen.strokeStyle = colour("--soft"); pen.lineWidth = 1.2; // one millivolt
      pen.beginPath(); pen.moveTo(GUTTER - 13, zero); pen.lineTo(GUTTER - 9, zero);
      pen.lineTo(GUTTER - 9, zero - bar); pen.lineTo(GUTTER - 3, zero - bar); pen.lineTo(GUTTER - 3, zero); pen.lineTo(GUTTER, zero); pen.stroke();
      if (i === 0 && 10 * this.my > 26) {
        pen.fillStyle = colour("--soft"); pen.font = `10px ${colour("--sans")}`;
        pen.fillText(`1 ${unit}`, PAD, zero - 5, GUTTER - 18);
        pen.font = `600 12.5px ${colour("--sans")}`;
      }
    });
  }
  overview() {
    const { strip, over, item } = this, width = strip.clientWidth, height = strip.clientHeight;
    if (!width) return;
    const pen = sharp(strip, width, height), [low, high] = range(over.y[0]);
    const x = (seconds) => (seconds / item.seconds) * width;
    pen.fillStyle = colour("--card"); pen.fillRect(0, 0, width, height);
    pen.strokeStyle = colour("--soft"); pen.lineWidth = 0.8;
    line(pen, over.y[0], 0, over.y[0].length, (i) => x(i * over.spacing), (v) => height * (high - v) / (high - low));
    pen.fillStyle = colour("--band");
    for (const gap of this.gaps) pen.fillRect(x(gap.start), 0, Math.max(x(gap.stop) - x(gap.start), 1.5), height);
    const [a, b] = [x(this.start), Math.min(x(this.start + this.seconds), width)];
    pen.fillStyle = colour("--veil");
    pen.fillRect(0, 0, a, height); pen.fillRect(b, 0, width - b, height);
    pen.strokeStyle = colour("--accent"); pen.lineWidth = 1.5;
    pen.strokeRect(a + 0.75, 0.75, Math.max(b - a - 1.5, 1), height - 1.5);
  }

  /* --- pointers, wheel, keys --------------------------------------------------------------------- */
  time(x) { return Math.min(Math.max(this.start + (x - GUTTER) / (25 * this.zoom), 0), this.item.seconds); }
  leadAt(y) { const i = this.rows.findIndex((row) => y < row.top + row.tall); return this.item.leads[i < 0 ? this.item.leads.length - 1 : i]; }
  listen() {
    const { canvas, strip, pointers } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.ranges || event.button) return;
      try { canvas.setPointerCapture(event.pointerId); } catch { /* it has gone already */ }
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      canvas.focus({ preventScroll: true });
      if (pointers.size === 2) { this.mark = null; this.pinch = this.spread(); return; }
      const kind = event.shiftKey ? "hide" : event.altKey ? "choose" : this.mode;
      this.kind = this.hooks.allowed(kind) ? kind : "move";
      if (this.kind !== "move") {
        const at = this.time(event.offsetX), lead = this.kind === "hide" && !this.everyLead ? this.leadAt(event.offsetY) : null;
        this.mark = { kind: this.kind, from: at, start: at, stop: at, lead };
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      if (pointers.size === 2) {
        const now = this.spread();
        this.start -= (now.middle - this.pinch.middle) / (25 * this.zoom);
        this.by(now.apart / Math.max(this.pinch.apart, 1), now.middle - GUTTER);
        this.pinch = now;
      } else if (this.mark) {
        const at = this.time(event.offsetX);
        [this.mark.start, this.mark.stop] = [Math.min(at, this.mark.from), Math.max(at, this.mark.from)];
        this.draw();
      } else if (this.kind === "move") this.move((before[0] - event.offsetX) / (25 * this.zoom));
    });
    const up = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      const mark = this.mark;
      this.mark = null;
      if (mark && event.type === "pointerup" && mark.stop - mark.start >= 0.03) this.hooks.marked(mark);
      this.draw();
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("wheel", (event) => {
      if (!this.ranges) return;
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (sideways || event.shiftKey) { event.preventDefault(); this.move((sideways ? event.deltaX : event.deltaY) / (25 * this.zoom)); }
      else if (event.ctrlKey || event.metaKey || document.activeElement === canvas) {
        event.preventDefault();
        this.by(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 350), event.offsetX - GUTTER);
      }
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      if (!this.ranges || event.ctrlKey || event.metaKey) return;
      const step = this.seconds / 8;
      const work = {
        ArrowRight: () => this.move(step), ArrowLeft: () => this.move(-step),
        PageDown: () => this.move(6 * step), PageUp: () => this.move(-6 * step),
        Home: () => this.move(-this.item.seconds), End: () => this.move(this.item.seconds),
        "+": () => this.by(1.25), "=": () => this.by(1.25), "-": () => this.by(0.8), 0: () => this.fit(),
        Escape: () => this.hooks.cleared(),
      }[event.key];
      if (!work) return;
      event.preventDefault(); work();
    });
    const jump = (event) => { if (this.ranges && event.buttons) this.go((event.offsetX / strip.clientWidth) * this.item.seconds); };
    strip.addEventListener("pointerdown", (event) => { try { strip.setPointerCapture(event.pointerId); } catch { /* gone */ } jump(event); });
    strip.addEventListener("pointermove", jump);
  }
  spread() {
    const [a, b] = [...this.pointers.values()];
    return { apart: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: (a[0] + b[0]) / 2 };
  }
}
