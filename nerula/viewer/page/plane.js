/* The map of embeddings: a dot per recording, coloured by what is known of it. */

import { $, colour, facts, make, sharp, short, signal, thumbnail } from "./ask.js";

const NONE = -1, KINDS = 10, FIRST = 6, SHOWN = 5; // colours, classes shown at first, seconds in the tip
const EDGE = 14;

export class Plane {
  constructor(canvas, hooks) {
    Object.assign(this, { canvas, hooks, by: "labels", layout: "principal", held: null, chosen: null, near: [] });
    this.on = null; this.frame = 0; this.cache = new Map();
    this.listen();
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  /* --- what is shown --------------------------------------------------------------------------- */
  hold(held, lead) {
    const better = held.neighbours && !this.held?.neighbours;
    const from = this.held && this.held.recordings.length === held.recordings.length ? this.places : null;
    Object.assign(this, { held, lead });
    this.index = new Map(held.recordings.map((one, i) => [one.key, i]));
    if (better) this.layout = "neighbours";
    this.on = null;
    $("mapped").hidden = false;
    this.controls(); this.legend(); this.note();
    if (better && from) this.walk(from); else this.paint();
  }
  get places() { return this.layout === "neighbours" && this.held.neighbours ? this.held.neighbours : this.held.principal; }
  mark(chosen, near) { this.chosen = chosen; this.near = near; this.paint(); }

  /* --- colours --------------------------------------------------------------------------------- */
  get ages() { const all = this.held.recordings.map((one) => one.age).filter((age) => age !== null).sort((a, b) => a - b); return [all[0], all[all.length - 1]]; }
  counted(name) {
    const counts = new Map();
    for (const one of this.held.recordings) for (const value of [one[name] ?? []].flat()) counts.set(value, (counts.get(value) ?? 0) + 1);
    return counts;
  }
  classes() { // names, their counts, and of each recording which it is
    const counts = this.counted(this.by), labels = this.by === "labels";
    const names = [...counts.keys()].sort(labels ? (a, b) => counts.get(b) - counts.get(a) : (a, b) => a.length - b.length || (a < b ? -1 : 1)).slice(0, labels ? 14 : KINDS);
    this.on ??= new Set(labels ? names.slice(0, FIRST) : names);
    const shades = new Map([...this.on].map((name, i) => [name, i % KINDS]));
    const of = this.held.recordings.map((one) => {
      const mine = [one[this.by] ?? []].flat().filter((name) => shades.has(name));
      return mine.length ? shades.get(mine.reduce((a, b) => (counts.get(b) < counts.get(a) ? b : a))) : NONE;
    });
    return { names, counts, shades, of };
  }
  fills() {
    const rest = colour("--rest");
    if (this.by === "age") {
      const ramp = ["--young", "--middle", "--old"].map(colour), [low, high] = this.ages;
      return this.held.recordings.map((one) => (one.age === null ? rest : mixed(ramp, (one.age - low) / Math.max(1, high - low))));
    }
    const palette = Array.from({ length: KINDS }, (_, i) => colour(`--c${i + 1}`));
    return this.classes().of.map((kind) => (kind === NONE ? rest : palette[kind]));
  }

  /* --- drawing --------------------------------------------------------------------------------- */
  spot(i, list = this.at ?? this.places) {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    return [EDGE + (list[2 * i] / 1000) * (width - 2 * EDGE), height - EDGE - (list[2 * i + 1] / 1000) * (height - 2 * EDGE)];
  }
  paint() {
    const { canvas, held } = this, [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!held || !width) return;
    const pen = sharp(canvas, width, height), fills = this.fills(), rest = colour("--rest");
    const r = Math.max(2, Math.min(4.5, 110 / Math.sqrt(held.recordings.length)));
    const put = (i, fill) => { const [x, y] = this.spot(i); pen.fillStyle = fill; pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.fill(); };
    pen.globalAlpha = 0.8;
    fills.forEach((fill, i) => { if (fill === rest) put(i, fill); });
    fills.forEach((fill, i) => { if (fill !== rest) put(i, fill); });
    pen.globalAlpha = 1;
    const own = this.index.get(this.chosen);
    pen.strokeStyle = colour("--ink"); pen.lineWidth = 1;
    for (const key of this.near) {
      const i = this.index.get(key);
      if (i === undefined) continue;
      const [x, y] = this.spot(i);
      if (own !== undefined) { const [a, b] = this.spot(own); pen.globalAlpha = 0.35; pen.beginPath(); pen.moveTo(a, b); pen.lineTo(x, y); pen.stroke(); pen.globalAlpha = 1; }
      pen.beginPath(); pen.arc(x, y, r + 3, 0, 7); pen.stroke();
    }
    if (own !== undefined) {
      const [x, y] = this.spot(own);
      pen.lineWidth = 2.5; pen.beginPath(); pen.arc(x, y, r + 6, 0, 7); pen.stroke();
    }
  }
  walk(from) { // dots walk from one layout to the other
    const to = this.places;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden) { this.paint(); return; }
    const began = performance.now();
    cancelAnimationFrame(this.frame);
    const step = (now) => {
      const t = Math.min(1, (now - began) / 600), ease = t * t * (3 - 2 * t);
      this.at = t < 1 ? to.map((v, i) => from[i] + (v - from[i]) * ease) : null;
      this.paint();
      if (t < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  /* --- controls and legend --------------------------------------------------------------------- */
  controls() {
    const { held } = this;
    const some = (name) => held.recordings.some((one) => [one[name] ?? []].flat().length);
    const all = [["labels", "Label"], ["sex", "Sex"], ["age", "Age"], ["fold", "Fold"]].filter(([name]) => some(name));
    if (all.length && !all.some(([name]) => name === this.by)) this.by = all[0][0];
    const group = (box, name, values, current, change) => {
      if (box.dataset.of === values.join() && box.querySelector(":checked")?.value === current) return;
      box.dataset.of = values.join();
      box.replaceChildren(box.firstElementChild, ...values.map(([value, text]) => make("label", {},
        make("input", { type: "radio", name, value, checked: value === current, on: { change: () => change(value) } }), make("span", {}, text))));
      box.hidden = values.length < 2;
    };
    group($("colours"), "colour", all, this.by, (value) => { this.by = value; this.on = null; this.legend(); this.paint(); });
    group($("layouts"), "layout", held.neighbours ? [["neighbours", "t-SNE"], ["principal", "PCA"]] : [], this.layout, (value) => {
      const from = this.places;
      this.layout = value; this.note(); this.walk(from);
    });
  }
  legend() {
    const box = $("legend");
    if (this.by === "age") {
      const [low, high] = this.ages;
      box.replaceChildren(make("li", { class: "ages" }, make("span", { class: "ramp" }), make("span", { class: "soft" }, `${Math.round(low)} to ${Math.round(high)} years`)));
      return;
    }
    const { names, counts, shades } = this.classes();
    box.replaceChildren(...names.map((name) => {
      const dot = make("i");
      dot.style.background = shades.has(name) ? colour(`--c${shades.get(name) + 1}`) : colour("--rest");
      return make("li", {}, make("button", { type: "button", "aria-pressed": String(shades.has(name)), on: { click: () => {
        if (this.on.has(name)) this.on.delete(name); else this.on.add(name);
        this.legend(); this.paint();
        [...box.querySelectorAll("button")].find((one) => one.dataset.name === name)?.focus();
      } }, "data-name": name }, dot, make("span", {}, name), make("span", { class: "n" }, counts.get(name).toLocaleString("en"))));
    }));
  }
  note() {
    const count = this.held.recordings.length.toLocaleString("en");
    $("map-note").textContent = this.places === this.held.principal
      ? `${count} recordings by the principal components of their embeddings; ${Math.round(100 * this.held.explained)} % of the variance lies in this plane.`
      : `${count} recordings by t-SNE: neighbours are true, distances between groups are not.`;
  }

  /* --- pointing -------------------------------------------------------------------------------- */
  nearest(x, y, reach) {
    let best = NONE, least = reach * reach;
    for (let i = 0; i < this.held.recordings.length; i++) {
      const [a, b] = this.spot(i), d = (a - x) ** 2 + (b - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }
  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => {
      if (!this.held || event.pointerType !== "mouse") return;
      const i = this.nearest(event.offsetX, event.offsetY, 14);
      canvas.style.cursor = i === NONE ? "default" : "pointer";
      if (i === NONE) this.hide(); else this.tell(i);
    });
    canvas.addEventListener("pointerleave", () => this.hide());
    canvas.addEventListener("click", (event) => {
      if (!this.held) return;
      const i = this.nearest(event.offsetX, event.offsetY, 24);
      if (i !== NONE) { this.hide(); this.hooks.open(this.held.recordings[i].key); }
    });
  }
  hide() { $("tip").hidden = true; this.told = NONE; clearTimeout(this.later); }
  tell(i) {
    if (this.told === i) return;
    this.told = i;
    const one = this.held.recordings[i], tip = $("tip"), [x, y] = this.spot(i);
    tip.hidden = false;
    tip.querySelector("strong").textContent = short(one.name);
    tip.querySelector("span").textContent = [one.labels.join(" "), facts(one)].filter(Boolean).join(" · ");
    const room = this.canvas.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(x + 14, room))}px`;
    tip.style.top = `${y + 14 + tip.offsetHeight > this.canvas.clientHeight ? y - tip.offsetHeight - 14 : y + 14}px`;
    const picture = tip.querySelector("canvas");
    sharp(picture, picture.clientWidth, picture.clientHeight);
    clearTimeout(this.later);
    this.later = setTimeout(async () => {
      try {
        if (!this.cache.has(one.key)) {
          if (this.cache.size > 300) this.cache.clear();
          this.cache.set(one.key, await signal(one.key, { start: 0, stop: SHOWN, points: 600, lead: this.lead }));
        }
        if (this.told === i) thumbnail(picture, this.cache.get(one.key), SHOWN);
      } catch { /* the tip has its words */ }
    }, 40);
  }
}

const mixed = (ramp, t) => {
  const part = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [a, b] = t < 0.5 ? [ramp[0], ramp[1]] : [ramp[1], ramp[2]], s = t < 0.5 ? 2 * t : 2 * t - 1;
  const [p, q] = [part(a), part(b)];
  return `rgb(${p.map((v, i) => Math.round(v + (q[i] - v) * Math.max(0, Math.min(1, s)))).join(",")})`;
};
