"use strict";
/* What the page draws by itself: ECG paper, and the map. No library; text only as text. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, attributes = {}, text) => {
    const one = name.startsWith("svg:")
      ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    if (text !== undefined) one.textContent = text;
    return one;
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const redraws = [];
  const redraw = () => redraws.forEach((one) => one());

  /* --- light and dark ---------------------------------------------------------------------- */
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("theme", value); } catch { /* not kept */ } } };
  const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const label = () => { $("theme").textContent = isDark() ? "Light" : "Dark"; };
  if (remembered.get()) document.documentElement.dataset.theme = remembered.get();
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    remembered.set(document.documentElement.dataset.theme);
    label(); redraw();
  });
  system.addEventListener("change", () => { label(); redraw(); });
  label();

  /* --- ECG paper: 25 mm/s, 10 mm/mV; drawn in millimetres ------------------------------------ */
  const SCREEN = 3.78, LEAST = 2.3, PULSE = 8; // pixels per mm: true size, smallest; room for the pulse
  let papers = 0;
  const range = (lines) => {
    const all = lines.flatMap((one) => Array.from(one.y)).filter((v) => v === v).sort((a, b) => a - b);
    if (!all.length) return [-1, 1];
    const at = (share) => all[Math.min(all.length - 1, Math.floor(share * all.length))];
    let low = Math.floor((at(0.001) - 0.15) * 2) / 2, high = Math.ceil((at(0.999) + 0.15) * 2) / 2;
    while (high - low < 1.5) { if (high <= -low) high += 0.5; else low -= 0.5; }
    if (high - low > 4) { const middle = Math.round(at(0.5)); low = middle - 2; high = middle + 2; }
    return [low, high];
  };
  const grid = (svg, width, height) => {
    const id = `paper${papers++}`;
    const defs = make("svg:defs");
    for (const [step, kind, stroke] of [[1, "fine", 0.1], [5, "coarse", 0.16]]) {
      const pattern = make("svg:pattern", { id: id + kind, width: step, height: step, patternUnits: "userSpaceOnUse" });
      pattern.append(make("svg:path", { d: `M${step} 0H0V${step}`, class: kind, fill: "none", "stroke-width": stroke }));
      defs.append(pattern);
    }
    svg.append(defs);
    for (const kind of ["fine", "coarse"]) svg.append(make("svg:rect", { width, height, fill: `url(#${id}${kind})` }));
  };
  const path = (y, rate, from, to, x0, top) => {
    let d = "", pen = false;
    for (let i = from; i < to; i++) {
      if (y[i] !== y[i]) { pen = false; continue; }
      d += `${pen ? "L" : "M"}${(x0 + (i - from) / rate * 25).toFixed(2)} ${((top - y[i]) * 10).toFixed(2)}`;
      pen = true;
    }
    return d;
  };
  const ecg = (host, lines, rate, told) => {
    const width = host.clientWidth;
    if (!width) return;
    const seconds = Math.max(...lines.map((one) => one.y.length)) / rate;
    const count = Math.max(1, Math.ceil((seconds * 25 + PULSE) * LEAST / width));
    const each = Math.ceil(seconds / count), span = each * 25 + PULSE;
    let [low, high] = range(lines);
    high = Math.max(high, 1.2); low = Math.min(low, -0.3); // room for the pulse
    const tall = (high - low) * 10, scale = Math.min(1.15 * SCREEN, width / span);
    const shown = Math.max(span, width / scale);
    const svg = make("svg:svg", { viewBox: `0 0 ${shown} ${tall * count}`, width: shown * scale,
      height: tall * count * scale, role: "img" });
    svg.append(make("svg:title", {}, told));
    grid(svg, shown, tall * count);
    for (let row = 0; row < count; row++) {
      const g = make("svg:g", { transform: `translate(0 ${row * tall})` });
      const from = Math.round(row * each * rate), to = Math.round((row + 1) * each * rate);
      g.append(make("svg:path", { class: "trace", d: `M1 ${high * 10}h1v-10h4v10h1` }));
      for (const one of lines) {
        const end = Math.min(to + 1, one.y.length);
        if (one.bands) for (let i = from; i < end; i++) if (one.y[i] === one.y[i]) {
          let j = i; while (j < end && one.y[j] === one.y[j]) j++;
          g.append(make("svg:rect", { class: "band", x: PULSE + (i - from) / rate * 25, y: 0, width: (j - i) / rate * 25, height: tall }));
          i = j;
        }
        g.append(make("svg:path", { class: one.kind, d: path(one.y, rate, from, end, PULSE, high) }));
      }
      svg.append(g);
    }
    host.replaceChildren(svg);
  };

  /* --- filled gaps ---------------------------------------------------------------------------- */
  for (const figure of document.querySelectorAll("[data-strip]")) {
    const filling = data.fillings[figure.dataset.filling], strip = filling.strips[figure.dataset.strip];
    const volts = (list) => Float32Array.from(list, (v) => (v === null ? NaN : v / 1000));
    const truth = volts(strip.x), filled = volts(strip.filled);
    const isGap = (i) => strip.filled[i] !== null && strip.filled[i] !== undefined;
    const near = (i) => isGap(i) || isGap(i - 1) || isGap(i + 1); // the hidden line meets the measured one
    const lines = [
      { y: filled, kind: "filled", bands: true },
      { y: truth.map((v, i) => (near(i) ? v : NaN)), kind: "hidden" },
      { y: truth.map((v, i) => (isGap(i) ? NaN : v)), kind: "trace" },
    ];
    redraws.push(() => ecg(figure.querySelector(".paper"), lines, filling.rate,
      `ECG of ${strip.name} with hidden stretches and what the model fills in`));
  }

  /* --- leads rebuilt from one ------------------------------------------------------------------ */
  for (const figure of document.querySelectorAll("[data-example]")) {
    const held = data.examples[figure.dataset.task][figure.dataset.example], place = figure.dataset.lead;
    const volts = (list) => Float32Array.from(list, (v) => (v === null ? NaN : v / 1000));
    const lines = [
      { y: volts(held.measured[place]), kind: "trace" },
      { y: volts(held.rebuilt[place]), kind: "filled" },
    ];
    redraws.push(() => ecg(figure.querySelector(".paper"), lines, held.rate,
      `Lead ${held.leads[place]}, measured and rebuilt from lead ${held.source}`));
  }

  /* --- recordings ----------------------------------------------------------------------------- */
  const held = data.recordings;
  let signals = null;
  const unpack = async () => {
    const bytes = Uint8Array.from(atob(held.signals), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const flat = new Int8Array(await new Response(stream).arrayBuffer());
    for (let i = 1; i < flat.length; i++) flat[i] += flat[i - 1];
    let first = 0;
    signals = held.lengths.map((length, i) => {
      const counts = flat.subarray(first, first += length);
      return Float32Array.from(counts, (c) => (c === -128 ? NaN : c * held.scales[i]));
    });
  };
  const words = (i) => {
    const found = held.labels[i].map((l) => held.labelWords[l] || held.labelNames[l]);
    const age = held.ages[i], sex = held.sexes[i];
    const person = [sex, age === null ? null : `${Math.round(age)} years`].filter(Boolean).join(", ");
    const fold = held.folds[i] === null ? null : `fold ${held.folds[i]}`;
    const seen = { true: "trained on", false: "never trained on" }[data.maps[view.map].trained[i]];
    return { name: held.names[i], labels: found.join(", "), facts: [person, fold, seen].filter(Boolean).join(" · ") };
  };

  /* --- the map -------------------------------------------------------------------------------- */
  const KINDS = 6, NONE = -1;
  const view = { map: 0, layout: "neighbours", by: "labels", chosen: 0, on: new Set(), at: null, frame: 0 };
  const start = () => {
    const counts = held.labelNames.map((_, l) => held.labels.filter((all) => all.includes(l)).length);
    const ranked = held.labelNames.map((_, l) => l).filter((l) => counts[l] > 1)
      .sort((a, b) => counts[b] - counts[a]).slice(0, 24);
    const liked = ["NORM", "AFIB", "CLBBB", "CRBBB", "N", "A", "O", "~"]
      .map((name) => held.labelNames.indexOf(name)).filter((l) => l >= 0 && counts[l] > 4);
    (liked.length > 1 ? liked : ranked).slice(0, 4).forEach((l) => view.on.add(l));
    const options = [...new Set([...view.on, ...ranked])].slice(0, 14);
    const known = (list) => list.some((one) => one !== null && one !== undefined);
    const ways = [["labels", "Statement", options.length], ["sex", "Sex", known(held.sexes)],
      ["age", "Age", known(held.ages)], ["trained", "Trained", data.maps.some((m) => known(m.trained))]]
      .filter((way) => way[2]);
    if (!ways.length) ways.push(["none", "Nothing", true]);
    view.by = ways[0][0];
    controls(ways);
    const plane = $("plane");
    const places = () => {
      const map = data.maps[view.map];
      return (view.layout === "neighbours" && map.neighbours) || map.principal;
    };
    const classes = () => {
      if (view.by === "sex") return groups(held.sexes);
      if (view.by === "trained") return groups(data.maps[view.map].trained.map((t) => (t === null ? null : t ? "trained on" : "never trained on")));
      const on = [...view.on];
      const rarest = (all) => all.filter((l) => view.on.has(l)).sort((a, b) => counts[a] - counts[b])[0];
      return { names: on.map((l) => held.labelNames[l]), of: held.labels.map((all) => { const l = rarest(all); return l === undefined ? NONE : on.indexOf(l); }) };
    };
    const groups = (values) => {
      const names = [...new Set(values.filter((v) => v !== null))].sort();
      return { names, of: values.map((v) => names.indexOf(v)) };
    };
    const ages = held.ages.filter((a) => a !== null);
    const young = Math.min(...ages), old = Math.max(...ages);

    const size = () => {
      const box = plane.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
      plane.width = Math.round(box.width * ratio); plane.height = Math.round(box.height * ratio);
      return [box.width, box.height, ratio];
    };
    const spot = (list, i, width, height) => [14 + list[2 * i] / 1000 * (width - 28), height - 14 - list[2 * i + 1] / 1000 * (height - 28)];
    const shape = (pen, kind, x, y, r) => {
      pen.beginPath();
      if (kind === 1) { pen.moveTo(x, y - r * 1.2); pen.lineTo(x + r * 1.1, y + r * 0.8); pen.lineTo(x - r * 1.1, y + r * 0.8); }
      else if (kind === 2) pen.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
      else if (kind === 3) { pen.moveTo(x, y - r * 1.3); pen.lineTo(x + r * 1.3, y); pen.lineTo(x, y + r * 1.3); pen.lineTo(x - r * 1.3, y); }
      else if (kind === 4) { pen.rect(x - r * 1.2, y - r * 0.4, r * 2.4, r * 0.8); pen.rect(x - r * 0.4, y - r * 1.2, r * 0.8, r * 2.4); }
      else pen.arc(x, y, r, 0, 7);
      pen.fill();
    };
    const paint = () => {
      const [width, height, ratio] = size(), pen = plane.getContext("2d");
      pen.scale(ratio, ratio);
      const list = view.at || places(), r = Math.max(2.2, Math.min(3.6, 90 / Math.sqrt(held.names.length)));
      const put = (i, kind, fill, big) => { pen.fillStyle = fill; shape(pen, kind, ...spot(list, i, width, height), r * (big || 1)); };
      const rest = colour("--rest"), palette = [1, 2, 3, 4, 5, 6].map((n) => colour(`--c${n}`));
      pen.globalAlpha = 0.85;
      if (view.by === "age") {
        const ramp = ["--young", "--middle", "--old"].map(colour);
        held.ages.forEach((age, i) => put(i, 0, age === null ? rest : mixed(ramp, (age - young) / Math.max(1, old - young))));
      } else {
        const { of } = classes();
        of.forEach((c, i) => { if (c === NONE) put(i, 0, rest); });
        of.forEach((c, i) => { if (c !== NONE) put(i, c % KINDS, palette[c % KINDS], 1.15); });
      }
      pen.globalAlpha = 1;
      const [x, y] = spot(list, view.chosen, width, height);
      pen.strokeStyle = colour("--ink"); pen.lineWidth = 2;
      pen.beginPath(); pen.arc(x, y, r + 5, 0, 7); pen.stroke();
    };
    const move = (from) => { // dots walk from one layout to the other
      const to = places();
      if (matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden) { view.at = null; paint(); return; }
      const began = performance.now();
      cancelAnimationFrame(view.frame);
      const step = (now) => {
        const t = Math.min(1, (now - began) / 600), ease = t * t * (3 - 2 * t);
        view.at = t < 1 ? to.map((v, i) => from[i] + (v - from[i]) * ease) : null;
        paint();
        if (t < 1) view.frame = requestAnimationFrame(step);
      };
      view.frame = requestAnimationFrame(step);
    };
    const choose = (i) => {
      view.chosen = i;
      const said = words(i), who = $("who");
      who.replaceChildren(make("strong", {}, said.name), make("span", {}, said.labels), make("span", { class: "soft" }, said.facts));
      if (signals) ecg($("shown").querySelector(".paper"), [{ y: signals[i], kind: "trace" }], held.rate, `ECG of ${said.name}`);
      paint();
    };
    const nearest = (x, y, reach) => {
      const [width, height] = [plane.clientWidth, plane.clientHeight], list = places();
      let best = NONE, least = reach * reach;
      for (let i = 0; i < held.names.length; i++) {
        const [a, b] = spot(list, i, width, height), d = (a - x) ** 2 + (b - y) ** 2;
        if (d < least) { least = d; best = i; }
      }
      return best;
    };
    const pointed = (event, reach) => {
      const i = nearest(event.offsetX, event.offsetY, reach);
      if (i !== NONE && i !== view.chosen) choose(i);
    };
    plane.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") pointed(event, 14); });
    plane.addEventListener("click", (event) => pointed(event, 30));
    plane.addEventListener("keydown", (event) => {
      const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!way) return;
      event.preventDefault();
      const list = places(), at = [list[2 * view.chosen], list[2 * view.chosen + 1]];
      let best = NONE, least = Infinity;
      for (let i = 0; i < held.names.length; i++) {
        const d = [list[2 * i] - at[0], list[2 * i + 1] - at[1]];
        const along = d[0] * way[0] + d[1] * way[1], aside = Math.abs(d[0] * way[1] + d[1] * way[0]);
        if (along > 0 && aside <= along && along + 2 * aside < least) { least = along + 2 * aside; best = i; }
      }
      if (best !== NONE) choose(best);
    });

    /* legend */
    const swatch = (kind, fill) => {
      const svg = make("svg:svg", { viewBox: "0 0 14 14", "aria-hidden": "true" });
      const d = ["M2.5 7a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0", "M7 1.6L12 10.6H2Z", "M3 3h8v8H3Z", "M7 1.2L12.8 7L7 12.8L1.2 7Z",
        "M1.6 5.2H5.2V1.6H8.8V5.2H12.4V8.8H8.8V12.4H5.2V8.8H1.6Z", "M2.5 7a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0"][kind % KINDS];
      svg.append(make("svg:path", { d, fill }));
      return svg;
    };
    const hint = (name) => {
      const said = held.labelWords[held.labelNames.indexOf(name)];
      return said ? { title: said } : {};
    };
    const legend = () => {
      const chips = $("chips"), about = $("about-colours");
      chips.replaceChildren();
      about.textContent = "";
      if (view.by === "age") {
        const item = make("li");
        item.append(make("div", { class: "ramp" }), make("span", { class: "soft" }, `${Math.round(young)} to ${Math.round(old)} years`));
        chips.append(item);
        return;
      }
      const { names, of } = classes();
      const entry = (c, name, count, pressed, toggle) => {
        const item = make("li"), button = make(toggle ? "button" : "span", toggle ? { type: "button", "aria-pressed": pressed } : {});
        button.append(swatch(c < 0 ? 0 : c, c < 0 ? colour("--rest") : colour(`--c${c % KINDS + 1}`)), make("span", hint(name), name.length > 1 ? name : hint(name).title || name), make("span", { class: "n" }, count.toLocaleString("en")));
        if (!toggle) button.style.cssText = "display:flex;gap:.5rem;align-items:center";
        if (toggle) button.addEventListener("click", () => { toggle(); legend(); paint(); [...chips.querySelectorAll("button")].find((b) => b.dataset.name === name)?.focus(); });
        button.dataset.name = name;
        item.append(button);
        chips.append(item);
      };
      if (view.by !== "labels") {
        names.forEach((name, c) => entry(c, name, of.filter((one) => one === c).length));
        const rest = of.filter((one) => one === NONE).length;
        if (rest) entry(-1, "not known", rest);
        return;
      }
      const on = [...view.on];
      options.forEach((l) => entry(on.indexOf(l), held.labelNames[l], counts[l], view.on.has(l), () => {
        if (view.on.has(l)) view.on.delete(l); else { if (view.on.size >= KINDS) view.on.delete(on[0]); view.on.add(l); }
      }));
      about.textContent = "Choose up to six. A recording with several has the colour of the rarest.";
    };
    const about = () => {
      const map = data.maps[view.map];
      $("about-map").textContent = places() === map.principal
        ? `Principal components of the standardised embeddings: distances are true, but only ${Math.round(100 * map.explained)} % of the variance is in this plane.`
        : "t-SNE: neighbours are true, distances between groups and the sizes of groups are not.";
    };
    function controls(all) {
      const box = $("controls");
      const group = (name, values, current, change) => {
        if (values.length < 2) return;
        const set = make("fieldset"), row = make("div", { class: "switch" });
        set.append(make("legend", {}, name), row);
        values.forEach(([value, text]) => {
          const one = make("label"), input = make("input", { type: "radio", name, value });
          input.checked = value === current;
          input.addEventListener("change", () => change(value));
          one.append(input, make("span", {}, text));
          row.append(one);
        });
        box.append(set);
      };
      group("Colour", all, view.by, (value) => { view.by = value; legend(); paint(); });
      if (!data.maps[0].neighbours) view.layout = "principal";
      else group("Layout", [["neighbours", "t-SNE"], ["principal", "PCA"]], view.layout, (value) => {
        const from = places(); view.layout = value; about(); move(from);
      });
      group("Model", data.maps.map((map, i) => [String(i), map.model]), "0", (value) => {
        const from = places(); view.map = Number(value); about(); legend(); move(from); choose(view.chosen);
      });
    }
    const first = held.labels.findIndex((all) => all.some((l) => held.labelNames[l] === "NORM"));
    redraws.push(paint, legend, () => choose(view.chosen));
    legend(); about(); choose(Math.max(0, first));
    unpack().then(() => {
      choose(view.chosen);
      const hero = () => {
        const i = Math.max(0, first);
        strip($("hero"), signals[i], held.rate);
        $("hero-caption").textContent = `${held.names[i]}, lead ${held.lead}, ${Math.round(held.lengths[i] / held.rate)} s of real ECG, one of those on the map.`;
      };
      redraws.push(hero); hero();
    }).catch(() => { $("shown").querySelector(".paper").textContent = "This browser cannot unpack the signals."; });
  };
  const mixed = (ramp, t) => {
    const part = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [a, b] = t < 0.5 ? [ramp[0], ramp[1]] : [ramp[1], ramp[2]], s = t < 0.5 ? 2 * t : 2 * t - 1;
    const [p, q] = [part(a), part(b)];
    return `rgb(${p.map((v, i) => Math.round(v + (q[i] - v) * Math.max(0, Math.min(1, s)))).join(",")})`;
  };
  const strip = (host, y, rate) => { // a band across the page: as much of the recording as fits
    const seconds = y.length / rate, scale = Math.max(3.2, host.clientWidth / (seconds * 25));
    const width = host.clientWidth / scale;
    const [low, high] = range([{ y }]), tall = (high - low) * 10;
    const svg = make("svg:svg", { viewBox: `0 0 ${width} ${tall}`, width: host.clientWidth, height: tall * scale });
    grid(svg, width, tall);
    svg.append(make("svg:path", { class: "trace", d: path(y, rate, 0, Math.min(y.length, Math.ceil(width / 25 * rate)), 0, high) }));
    host.replaceChildren(svg);
  };

  if (held) start();
  redraw();
  document.addEventListener("toggle", redraw, true); // what was closed had no width to draw in
  let width = window.innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (window.innerWidth === width) return; // a phone's address bar comes and goes
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => entries.forEach((one) => {
    if (!one.isIntersecting) return;
    links.forEach((a, id) => (id === one.target.id ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current")));
  }), { rootMargin: "-20% 0px -75%" });
  document.querySelectorAll("section").forEach((one) => seen.observe(one));
  let before; // the map is painted, so it has to be painted again for paper
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    redraw();
  });
  addEventListener("afterprint", () => {
    if (before) document.documentElement.dataset.theme = before;
    else delete document.documentElement.dataset.theme;
    redraw();
  });
})();
