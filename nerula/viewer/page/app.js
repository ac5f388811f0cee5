/* The viewer's page: find a recording, look at it, ask about it. */

import { $, Refusal, facts, json, lasting, make, post, sexed, short, signal, thumbnail, years } from "./ask.js";
import { Paper } from "./paper.js";
import { Plane } from "./plane.js";

const PAGE = 50, NEAR_SECONDS = 5, WAIT = 700;
const state = { about: null, start: 0, total: 0, listed: [], owned: [], item: null, version: 0, opened: 0, asked: 0 };
const say = (error) => { if (error.name !== "AbortError") { console.info(error); notice(error instanceof Refusal ? error.message : String(error)); } };
const notice = (text) => { const box = $("empty"); box.textContent = text; box.hidden = !text; };

/* --- light and dark ---------------------------------------------------------------------------- */
const system = matchMedia("(prefers-color-scheme: dark)");
const kept = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
  set: (value) => { try { localStorage.setItem("theme", value); } catch { /* not kept */ } } };
const dark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const shade = () => { $("theme").textContent = dark() ? "Light" : "Dark"; };
if (kept.get()) document.documentElement.dataset.theme = kept.get();
const reshade = () => { shade(); if (state.item) paper.draw(); plane.paint(); if (plane.held) plane.legend(); pictures(); };
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  kept.set(document.documentElement.dataset.theme); reshade();
});
system.addEventListener("change", () => reshade());

/* --- finding ------------------------------------------------------------------------------------ */
const searched = () => ({
  words: $("words").value.trim(), label: $("label").value, sex: $("sex").value, fold: $("fold").value,
  youngest: $("youngest").value.trim(), oldest: $("oldest").value.trim(), order: $("order").value,
});
let looking;
const find = async (start = 0) => {
  looking?.abort();
  looking = new AbortController();
  try {
    const found = await json("recordings", { ...searched(), start, count: PAGE }, looking.signal);
    Object.assign(state, { start, total: found.total, listed: found.recordings });
    list($("list"), found.recordings);
    const all = found.total === state.about.recordings;
    $("count").textContent = `${found.total.toLocaleString("en")} ${all ? "recordings" : `of ${state.about.recordings.toLocaleString("en")} recordings`}`;
    $("where").textContent = found.total ? `${(start + 1).toLocaleString("en")}–${(start + found.recordings.length).toLocaleString("en")}` : "";
    $("before").disabled = start === 0;
    $("after").disabled = start + PAGE >= found.total;
    $("list").scrollTop = 0;
  } catch (error) { if (error.name !== "AbortError") $("count").textContent = error.message; }
};
const list = (box, rows) => box.replaceChildren(...rows.map((one) => make("li", {},
  make("button", { type: "button", "data-key": one.key, "aria-current": state.item?.key === one.key ? "true" : null,
    on: { click: () => { open(one.key); drawer(false); } } },
  make("span", { class: "name", title: one.name }, short(one.name)), make("span", { class: "soft small" }, facts(one) || (one.seconds ? lasting(one.seconds) : "")),
  make("span", { class: "tags small" }, ...(one.labels ?? []).slice(0, 4).map((label) => make("span", { class: "tag" }, label)))))));
const current = () => document.querySelectorAll("#find button[data-key]").forEach((one) => {
  if (one.dataset.key === state.item?.key) one.setAttribute("aria-current", "true"); else one.removeAttribute("aria-current");
});
let typing;
$("search").addEventListener("submit", (event) => { event.preventDefault(); find(); });
$("search").addEventListener("input", (event) => { clearTimeout(typing); typing = setTimeout(() => find(), event.target.tagName === "SELECT" ? 0 : 180); });
$("before").addEventListener("click", () => find(Math.max(0, state.start - PAGE)));
$("after").addEventListener("click", () => find(state.start + PAGE));
const drawer = (on) => { document.body.classList.toggle("finding", on); $("browse").setAttribute("aria-expanded", String(on)); };
$("browse").addEventListener("click", () => { drawer(!document.body.classList.contains("finding")); scrollTo(0, 0); });
const step = (by) => { // the next or previous recording of the list
  const at = state.listed.findIndex((one) => one.key === state.item?.key);
  if (at >= 0 && state.listed[at + by]) open(state.listed[at + by].key);
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
  if (event.key === "/") { event.preventDefault(); drawer(true); $("words").focus(); }
  if (event.key === "j") step(1);
  if (event.key === "k") step(-1);
});

/* --- looking ------------------------------------------------------------------------------------- */
const paper = new Paper($("ecg"), $("whole"), {
  trouble: say,
  allowed: (kind) => kind === "move" || state.about.model,
  drawn: (one) => {
    const proportion = one.mx === one.my, size = one.my / (96 / 25.4);
    $("scale").textContent = (proportion ? `25 mm/s, 10 mm/${one.item.unit}, ${size.toFixed(2)} × true size. ` : `Time is compressed ${(one.my / one.mx).toFixed(one.my / one.mx < 10 ? 1 : 0)} times; 10 mm/${one.item.unit}. `);
    one.canvas.setAttribute("aria-label", `ECG of ${one.item.name}, ${one.start.toFixed(1)} to ${Math.min(one.start + one.seconds, one.item.seconds).toFixed(1)} of ${lasting(one.item.seconds)}`);
    const gappy = state.about.model && one.held.exact && one.held.y.some((y) => { const first = y.findIndex((v) => v === v); return first >= 0 && y.some((v) => v !== v); });
    $("missing").hidden = !gappy;
    $("clear").hidden = !one.gaps.length && !one.chosen;
  },
  marked: (mark) => (mark.kind === "hide" ? hide(mark) : choose(mark)),
  cleared: () => clear(),
});
const open = async (key) => {
  const turn = ++state.opened; // of two that were asked for, the later one stays, whichever answers first
  notice("");
  try {
    const item = await json(`recordings/${key}`);
    if (turn !== state.opened) return;
    state.item = item;
    history.replaceState(null, "", `#${key}`);
    $("name").textContent = short(item.name);
    $("name").title = item.name;
    $("facts").textContent = [years(item.age), sexed(item.sex), item.fold && `fold ${item.fold}`, item.subject && `subject ${item.subject}`,
      `${lasting(item.seconds)} at ${+item.rate.toFixed(2)} Hz`].filter(Boolean).join(" · ");
    $("tags").replaceChildren(...item.labels.map((label) => make("span", { class: "tag" }, label)));
    $("every").hidden = item.leads.length < 2 || !state.about.model;
    document.title = `${item.name} – Nerula`;
    paper.gaps = [];
    current(); filled();
    plane.mark(item.stored ? item.key : null, []);
    await paper.show(item);
    await Promise.all([quality(item), answers(item)]);
  } catch (error) { say(error); }
};
for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", () => { paper.mode = radio.value; $("ecg").dataset.mode = radio.value; });
$("in").addEventListener("click", () => paper.by(1.3));
$("out").addEventListener("click", () => paper.by(1 / 1.3));
$("fit").addEventListener("click", () => paper.fit());
$("true").addEventListener("click", () => paper.actual());
$("every-lead").addEventListener("change", (event) => { paper.everyLead = event.target.checked; });

/* --- gaps ------------------------------------------------------------------------------------------ */
const hide = async (mark) => {
  const same = paper.gaps.filter((one) => one.lead === mark.lead && one.start <= mark.stop && one.stop >= mark.start);
  paper.gaps = paper.gaps.filter((one) => !same.includes(one));
  paper.gaps.push({ start: Math.min(mark.start, ...same.map((one) => one.start)), stop: Math.max(mark.stop, ...same.map((one) => one.stop)), lead: mark.lead, fills: [] });
  paper.draw(); await fill(mark.lead);
};
const fill = async (lead) => { // the gaps of one lead, or those of all, are filled together
  const item = state.item, gaps = paper.gaps.filter((one) => one.lead === lead);
  notice("");
  try {
    const found = await json(`recordings/${item.key}/fill`, { gap: gaps.map((one) => `${one.start.toFixed(4)}-${one.stop.toFixed(4)}`), lead });
    if (state.item !== item) return;
    for (const gap of gaps) {
      gap.fills = found.gaps.filter((one) => one.start < gap.stop && one.stop > gap.start).map((one) => ({ ...one, y: Float32Array.from(one.values, (v) => v ?? NaN) }));
    }
  } catch (error) { paper.gaps = paper.gaps.filter((one) => !gaps.includes(one) || one.fills.length); say(error); }
  paper.draw(); filled();
};
const filled = () => {
  const fills = paper.gaps.flatMap((gap) => gap.fills), unit = state.item?.unit;
  $("filled").hidden = !fills.length;
  $("gaps").replaceChildren(...fills.map((one) => {
    const long = one.stop - one.start > state.about.reliable;
    const known = one.values.some((v) => v !== null);
    const error = one.rmse === null ? "nothing was measured there to compare with" : `RMSE ${one.rmse.toFixed(3)} ${unit}; a straight line ${one.line.toFixed(3)}`;
    return make("li", {}, make("b", {}, `${one.lead} ${one.start.toFixed(2)}–${one.stop.toFixed(2)} s`), ` ${known ? error : "the model does not know this lead"}`,
      long && known ? make("span", { class: "soft" }, ` Longer than ${state.about.reliable} s: believe the rhythm at most.`) : null);
  }));
};
$("missing").addEventListener("click", async () => {
  const { held, item } = paper;
  for (let lead = 0; lead < item.leads.length; lead++) {
    const y = held.y[lead], found = [];
    if (!y.some((v) => v === v)) continue;
    for (let i = 0; i < y.length; i++) {
      if (y[i] === y[i]) continue;
      let j = i; while (j < y.length && y[j] !== y[j]) j++;
      found.push({ start: held.start + i * held.spacing, stop: held.start + j * held.spacing, lead: item.leads[lead], fills: [] });
      i = j;
    }
    if (!found.length) continue;
    paper.gaps = [...paper.gaps.filter((one) => one.lead !== item.leads[lead]), ...found.slice(0, 64)];
    await fill(item.leads[lead]);
  }
});
const clear = () => {
  const asked = paper.chosen !== null;
  paper.gaps = []; paper.chosen = null; notice(""); paper.draw(); filled();
  if (asked) answers(state.item);
};
$("clear").addEventListener("click", clear);
const choose = (mark) => { paper.chosen = { start: mark.start, stop: mark.stop }; paper.draw(); answers(state.item, paper.chosen); };

/* --- what is said of it ------------------------------------------------------------------------- */
const meter = (value) => { const one = make("i", { class: "meter" }, make("i")); one.firstChild.style.width = `${100 * value}%`; return one; };
const quality = async (item) => {
  const said = await json(`recordings/${item.key}/quality`);
  if (state.item !== item) return;
  const leads = item.leads.length > 1 ? make("div", { class: "leads small" }, ...item.leads.flatMap((lead, i) => [make("span", {}, lead), meter(said.leads[i]), make("span", { class: "n soft" }, said.leads[i].toFixed(2))])) : null;
  const findings = said.findings.length
    ? make("ul", { class: "findings" }, ...said.findings.slice(0, 40).map((one) => make("li", { class: one.severity },
      make("b", {}, [one.lead && `Lead ${one.lead}:`, one.meaning].filter(Boolean).join(" ")), one.detail ? ` (${one.detail})` : "", make("span", { class: "small soft" }, ` ${one.remedy} [${one.code}]`))))
    : make("p", { class: "soft" }, "Nothing was found wrong.");
  $("quality").replaceChildren(make("p", { class: "index" }, make("b", {}, said.index.toFixed(2)), make("span", { class: "soft small" }, `quality index from 0 to 1; ${(100 * said.valid).toFixed(said.valid === 1 ? 0 : 1)} % was measured${said.seconds < item.seconds - 0.01 ? ` (of the first ${lasting(said.seconds)})` : ""}`)), ...[leads, findings].filter(Boolean));
};
const answers = async (item, span = null) => {
  if (!state.about.model) return;
  const turn = ++state.asked;
  try {
    const said = await json(`recordings/${item.key}/answers`, span ? { start: span.start.toFixed(4), stop: span.stop.toFixed(4) } : {});
    if (state.item !== item || turn !== state.asked) return;
    probes(said.probes);
    $("probes-of").textContent = span ? `Of ${span.start.toFixed(2)}–${span.stop.toFixed(2)} s alone.` : "";
    if (!said.neighbours) { $("near-of").textContent = "The store is being embedded …"; setTimeout(() => { if (turn === state.asked) answers(item, span); }, WAIT); return; }
    near(said.neighbours, span);
  } catch (error) {
    if (turn !== state.asked) return;
    $("near").replaceChildren(); $("probes").replaceChildren();
    $("near-of").textContent = error.message;
  }
};
const probes = (all) => $("probes").replaceChildren(...all.flatMap((one) => [
  make("h3", {}, one.name),
  one.kind === "values" ? make("p", { class: "index" }, make("b", {}, String(one.value)), make("span", { class: "soft small" }, one.unit))
    : make("div", { class: "bars small" }, ...one.classes.slice(0, 8).flatMap(([name, share]) => [make("span", {}, name), meter(share), make("span", { class: "n" }, `${(100 * share).toFixed(1)} %`)]))]));
let traces = [];
const near = async (found, span) => {
  const item = state.item, most = state.about.model.complete ? "" : ", a sample of the store";
  $("near-of").textContent = `${span ? `To ${span.start.toFixed(2)}–${span.stop.toFixed(2)} s alone` : "To this recording"}, by the cosine of embeddings, among ${found.searched.toLocaleString("en")} recordings${most}.`;
  const cards = found.recordings.map((one, i) => make("li", {}, make("button", { type: "button", on: { click: () => { open(one.key); scrollTo({ top: 0, behavior: "smooth" }); } } },
    make("canvas"), make("span", { class: "row" }, make("span", { class: "name", title: one.name }, short(one.name)), make("span", { class: "n small soft" }, found.distances[i].toFixed(3))),
    make("span", { class: "small soft" }, facts(one)), make("span", { class: "tags small" }, ...one.labels.slice(0, 4).map((label) => make("span", { class: "tag" }, label))))));
  $("near").replaceChildren(...cards);
  plane.mark(item.stored ? item.key : null, found.recordings.map((one) => one.key));
  const lead = shownLead();
  const got = await Promise.all(found.recordings.map((one) => signal(one.key, { start: 0, stop: NEAR_SECONDS, points: 600, lead }).catch(() => null)));
  traces = cards.map((card, i) => [card.querySelector("canvas"), got[i]]);
  pictures();
};
const pictures = () => traces.forEach(([canvas, trace]) => { if (trace && canvas.isConnected) thumbnail(canvas, trace, NEAR_SECONDS); });
const shownLead = () => { const { leads, model } = state.about; return model && leads.includes(model.leads[0]) ? model.leads[0] : leads.includes("II") ? "II" : leads[0]; };
addEventListener("resize", pictures);

/* --- the map --------------------------------------------------------------------------------------- */
const plane = new Plane($("plane"), { open: (key) => { open(key); scrollTo({ top: 0, behavior: "smooth" }); } });
const watch = async () => {
  try {
    const said = await json("progress");
    if (said.version !== state.version) { state.version = said.version; const held = await json("map"); if (held.recordings.length) plane.hold(held, shownLead()); }
    const working = said.state === "embedding" || said.state === "mapping" || said.state === "idle";
    $("progress").hidden = !working;
    const bar = $("progress").firstElementChild;
    if (said.state === "embedding" && said.total) { bar.max = said.total; bar.value = said.done; } else bar.removeAttribute("value");
    $("progress").lastElementChild.textContent = said.state === "mapping" ? "Laying out neighbours (t-SNE) …" : `Embedding: ${said.done.toLocaleString("en")} of ${said.total.toLocaleString("en")} recordings`;
    if (said.state === "failed") { $("map-note").textContent = said.trouble; return; }
    if (working) setTimeout(watch, WAIT);
    else if (state.item && !paper.chosen) answers(state.item);
  } catch (error) { $("map-note").textContent = error.message; }
};

/* --- your own files ---------------------------------------------------------------------------------- */
const own = async (files) => {
  const all = [...files];
  if (!all.length) return;
  const wrong = (text) => { $("trouble").textContent = text; $("trouble").hidden = !text; if (text) drawer(true); };
  wrong("");
  const size = all.reduce((sum, one) => sum + one.size, 0);
  if (size > state.about.limit) { wrong(`${(size / 1e6).toFixed(1)} MB is more than the ${(state.about.limit / 1e6).toFixed(1)} MB that fit. Start nerula view with a larger --limit, or prepare a store of it.`); return; }
  try {
    const said = await post("files", { name: all.map((one) => one.name), size: all.map((one) => one.size), rate: $("rate").value.trim(), unit: $("unit").value }, new Blob(all));
    state.owned = [...said.recordings, ...state.owned].slice(0, 500);
    list($("owned"), state.owned);
    drawer(false);
    await open(said.recordings[0].key);
  } catch (error) {
    wrong(error.message);
    if (error.message.includes($("unsaid").firstElementChild.textContent)) $("unsaid").open = true;
    $("trouble").scrollIntoView({ block: "nearest" });
  }
};
const holds = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
addEventListener("dragenter", (event) => { if (holds(event)) { event.preventDefault(); $("veil").hidden = false; } });
addEventListener("dragover", (event) => { if (holds(event)) event.preventDefault(); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("veil").hidden = true; });
addEventListener("drop", (event) => { $("veil").hidden = true; if (holds(event)) { event.preventDefault(); own(event.dataTransfer.files); } });
$("pick").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", (event) => { own(event.target.files); event.target.value = ""; });

/* --- beginning --------------------------------------------------------------------------------------- */
const begin = async () => {
  shade();
  const about = await json("about");
  state.about = about;
  $("title").textContent = about.title;
  $("about").textContent = `${about.recordings.toLocaleString("en")} recordings, ${about.leads.length > 3 ? `${about.leads.length} leads` : about.leads.join(" ")}, ${about.rate} Hz${about.model ? `; ${about.model.name}` : ""}`;
  const options = (id, rows) => { $(id).append(...rows.map(([name, count]) => make("option", { value: name }, `${name} (${count.toLocaleString("en")})`))); $(id).closest("label").hidden = !rows.length; };
  options("label", about.groups.labels); options("sex", about.groups.sexes); options("fold", about.groups.folds);
  $("youngest").closest("label").hidden = !about.groups.ages;
  for (const id of ["near-card", "map-card", "mode-hide", "mode-choose"]) $(id).hidden = !about.model;
  $("probes-card").hidden = !about.model?.probes.length;
  await find();
  const named = decodeURIComponent(location.hash.slice(1));
  if (/^(\d+|f\d+\.\d+)$/.test(named)) await open(named);
  if (!state.item && state.listed.length) await open(state.listed[0].key);
  if (!state.listed.length) { $("name").textContent = "An empty store"; }
  if (!about.model) { $("map-note").textContent = about.without; return; }
  await watch();
};
begin().catch(say);
