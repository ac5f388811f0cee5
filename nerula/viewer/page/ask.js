/* Asking the server, and making elements. Text is only ever set as text. */

export const $ = (id) => document.getElementById(id);

export const make = (name, attributes = {}, ...content) => {
  const one = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, work] of Object.entries(value)) one.addEventListener(event, work);
    else if (value === true) one.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) one.setAttribute(key, value);
  }
  one.append(...content.filter((part) => part !== null && part !== undefined));
  return one;
};

export class Refusal extends Error {}

const parameters = (given) => {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") words.append(name, one);
    }
  }
  return words.size ? `?${words}` : "";
};

const answered = async (response) => {
  if (response.ok) return response;
  const said = await response.json().catch(() => ({ error: `The viewer answered ${response.status}.` }));
  throw new Refusal([said.error, said.remedy].filter(Boolean).join(" "));
};

const reached = (address, options) => fetch(address, options).catch((error) => {
  if (error.name === "AbortError") throw error;
  throw new Refusal("The viewer does not answer. Was it closed?");
});

export const json = async (path, given = {}, signal = undefined) =>
  (await answered(await reached(`/api/${path}${parameters(given)}`, { signal }))).json();

/* A stretch of signal: {start, spacing, exact, leads, y: one Float32Array per lead}. */
export const signal = async (key, given, abort) => {
  const response = await answered(await reached(`/api/recordings/${key}/signal${parameters(given)}`, { signal: abort }));
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const y = head.leads.map((_, i) => new Float32Array(buffer, 4 + length + 4 * i * head.count, head.count));
  return { ...head, y };
};

export const post = async (path, given, body) =>
  (await answered(await reached(`/api/${path}${parameters(given)}`, { method: "POST", body }))).json();

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const years = (age) => (age == null ? "" : age >= 90 ? "90 or older" : `${Math.round(age)} years`);
const SEXES = { M: "male", F: "female", male: "male", female: "female" };
export const sexed = (sex) => SEXES[sex] ?? sex ?? "";
export const short = (name) => name.slice(name.lastIndexOf("/") + 1) || name;
export const lasting = (seconds) => (seconds < 120 ? `${+seconds.toFixed(1)} s` : seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`);
export const facts = (one) => [years(one.age), sexed(one.sex)].filter(Boolean).join(", ");

/* A canvas as sharp as the screen; returns its pen and its size in CSS pixels. */
export const sharp = (canvas, width, height) => {
  const ratio = Math.min(devicePixelRatio || 1, 3);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
};

/* Least and greatest that are worth drawing, on half millivolts. */
export const range = (y) => {
  const all = Array.from(y).filter((v) => v === v).sort((a, b) => a - b);
  if (!all.length) return [-0.5, 1];
  const at = (share) => all[Math.min(all.length - 1, Math.floor(share * all.length))];
  let [low, high] = [Math.floor((at(0.001) - 0.15) * 2) / 2, Math.ceil((at(0.999) + 0.15) * 2) / 2];
  while (high - low < 1.5) { if (high <= -low) high += 0.5; else low -= 0.5; }
  if (high - low > 5) { const middle = Math.round(at(0.5)); low = middle - 2.5; high = middle + 2.5; }
  return [low, high];
};

/* The grid of ECG paper: mx and my pixels per millimetre, from a time on. */
export const grid = (pen, left, width, height, mx, my, offset = 0) => {
  pen.fillStyle = colour("--paper");
  pen.fillRect(left, 0, width, height);
  const lines = (step, name, wide) => {
    pen.strokeStyle = colour(name); pen.lineWidth = wide; pen.beginPath();
    for (let x = left - ((offset * mx) % (step * mx)); x <= left + width; x += step * mx) {
      if (x >= left) { pen.moveTo(x, 0); pen.lineTo(x, height); }
    }
    for (let y = 0; y <= height; y += step * my) { pen.moveTo(left, y); pen.lineTo(left + width, y); }
    pen.stroke();
  };
  if (mx >= 2.4 && my >= 2.4) lines(1, "--fine", 0.6);
  if (mx >= 0.7) lines(5, "--coarse", 0.8);
};

/* One line through values; NaN lifts the pen. */
export const line = (pen, y, from, to, x, at) => {
  let down = false;
  pen.beginPath();
  for (let i = Math.max(from, 0); i < Math.min(to, y.length); i++) {
    const v = y[i];
    if (v !== v) { down = false; continue; }
    if (down) pen.lineTo(x(i), at(v));
    else { pen.moveTo(x(i), at(v)); if (to - from > 1 && (y[i + 1] !== y[i + 1])) pen.lineTo(x(i) + 0.7, at(v)); }
    down = true;
  }
  pen.stroke();
};

/* A small picture of the first seconds of one lead. */
export const thumbnail = (canvas, trace, seconds) => {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  const pen = sharp(canvas, width, height), y = trace.y[0], mm = width / (seconds * 25);
  grid(pen, 0, width, height, mm, mm);
  const [low, high] = range(y);
  const tall = Math.min(10 * mm, height / (high - low + 0.2));
  const middle = height / 2 + ((high + low) / 2) * tall;
  pen.strokeStyle = colour("--trace"); pen.lineWidth = 1.1; pen.lineJoin = "round";
  line(pen, y, 0, y.length, (i) => (i * trace.spacing / seconds) * width, (v) => middle - v * tall);
};
