// The panel of the open case: flags, layers, labels with their sizes, measurements, scores, the legend.

import * as api from "./api.js";
import { $, ask, choices, el, say, show } from "./dom.js";
import { amounts, amountText, widths } from "./measure.js";
import { on, set, state } from "./state.js";
import { DIFFERENCE, layersOf, MASKS } from "./study.js";

const LAYER_NAMES = { prediction: "Prediction", truth: "Truth", difference: "Difference", correction: "Correction", none: "None" };
const RATIO_LIMIT = 0.5;
let mark = () => {};
let later = 0;

function head() {
  const { current } = state;
  document.body.toggleAttribute("data-open", Boolean(current));
  $("case-title").textContent = current?.name ?? "No case";
  const size = current?.shape?.join(" × ");
  const mm = current?.spacing_mm?.map((value) => Number(value.toFixed(2))).join(" × ");
  $("case-about").textContent = current ? [current.modality, size, mm && `${mm} mm`].filter(Boolean).join(" · ") : "Open one from the list.";
  const missing = current && !current.urls?.image ? ["The image of this case was not found: its mask is shown on black."] : [];
  $("case-notes").replaceChildren(...[...missing, ...(current?.notes ?? [])].map((text) => el("li", {}, text)));
  show($("remove"), current?.source === "upload");
  $("case-flags").replaceChildren(...(current?.flags ?? []).map(({ text, rule }) => el("li", {}, text ?? rule)));
  const link = $("download");
  show(link, Boolean(current?.urls?.mask_download));
  if (current?.urls?.mask_download) link.href = current.urls.mask_download;
}

function layers() {
  const { study } = state;
  const names = study ? layersOf(study) : [];
  mark = choices($("layers"), names.map((name) => [name, LAYER_NAMES[name], "T: next"]), (layer) => set({ layer }));
  show($("layers"), names.length > 0);
  show($("no-mask"), Boolean(study) && !names.length);
  mark(state.layer);
}

export function nextLayer() {
  const names = state.study ? layersOf(state.study) : [];
  if (names.length) set({ layer: names[(names.indexOf(state.layer) + 1) % names.length] });
}

/** The mask whose sizes the table tells. */
const told = (study, layer) => (layer === "difference" ? "prediction" : MASKS.includes(layer) ? layer : null);

function labels() {
  const { study, layer } = state;
  const name = study && told(study, layer);
  const shown = name && study.masks[name] ? amounts(study, study.masks[name]) : new Map();
  const truth = study?.masks.truth && name !== "truth" ? amounts(study, study.masks.truth) : null;
  $("labels").replaceChildren(...(study?.labels ?? []).map((label) => row(study, label, shown, truth)));
  $("labels-unit").textContent = [...shown.values()][0]?.unit ?? "";
  $("labels-truth").textContent = truth ? "truth" : "";
  measures();
}

function row(study, { value, name, colour }, shown, truth) {
  const box = el("input", { type: "checkbox", checked: !study.hidden[value], "aria-label": `Show ${name}`, onchange: () => {
    study.hidden[value] = box.checked ? 0 : 1;
    set({ edits: state.edits + 1 });
  } });
  const swatch = el("span", { className: "swatch" });
  swatch.style.backgroundColor = colour;
  const cell = (entry) => el("td", {}, entry ? amountText(entry) : "");
  return el("tr", { "data-value": String(value) },
    el("th", { scope: "row" }, el("label", { className: "check" }, box, swatch, name)),
    cell(shown.get(value)), cell(truth?.get(value)));
}

function measures() {
  const { study, layer, current } = state;
  const rows = [];
  const found = study && widths(study, layer);
  const server = current?.measurements?.cardiothoracic_ratio;
  const ratio = ["truth", "correction"].includes(layer) ? found?.ratio : server ?? found?.ratio; // server: the prediction's
  if (typeof ratio === "number") rows.push(...ratioRow(study, ratio));
  for (const [name, value] of Object.entries(current?.measurements ?? {})) {
    if (name !== "cardiothoracic_ratio" && typeof value === "number") {
      rows.push(el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, String(Number(value.toPrecision(4)))));
    }
  }
  const predicted = Object.entries(current?.predicted_dice ?? {}).filter(([, value]) => typeof value === "number");
  if (predicted.length) rows.push(...predictedRow(predicted));
  $("measures").replaceChildren(...rows);
}

/** The Dice that was predicted without truth: of the label that fares worst. */
function predictedRow(values) {
  const [region, value] = values.reduce((worst, next) => (next[1] < worst[1] ? next : worst));
  const all = values.map(([name, dice]) => `${name} ${dice.toFixed(2)}`).join("\n");
  return [el("dt", { title: all }, "Predicted Dice"), el("dd", { title: all }, `${value.toFixed(2)} (${region})`)];
}

function ratioRow(study, ratio) {
  const box = el("input", { type: "checkbox", id: "widths", checked: study.showWidths, onchange: () => {
    study.showWidths = box.checked;
    set({ distances: study.distances });
  } });
  const above = ratio > RATIO_LIMIT ? " (above 0.50)" : "";
  return [
    el("dt", {}, "Cardiothoracic ratio"),
    el("dd", {}, el("strong", { id: "ratio" }, ratio.toFixed(2)), above),
    el("dd", { className: "both" }, el("label", { className: "check" }, box, "Show both widths")),
  ];
}

/** Masks that are scored without a bundle have regions "label 1", ...: named here where the case knows better. */
function regionName(region) {
  const value = /^label (\d+)$/.exec(region)?.[1];
  return state.current.labels?.[value]?.name ?? region;
}

function scores() {
  const found = Object.entries(state.current?.scores ?? {});
  show($("scores-card"), found.length > 0);
  if (!found.length) return;
  const names = [...new Set(found.flatMap(([, values]) => Object.keys(values)))]
    .filter((name) => found.some(([, values]) => typeof values[name] === "number"));
  const number = (value) => (typeof value === "number" ? String(Number(value.toFixed(value >= 10 ? 1 : 3))) : "–");
  $("scores-head").replaceChildren(el("tr", {}, el("th", { scope: "col" }, "Score"),
    ...found.map(([region]) => el("th", { scope: "col" }, regionName(region)))));
  $("scores").replaceChildren(...names.map((name) => el("tr", {}, el("th", { scope: "row" }, name.replaceAll("_", " ")),
    ...found.map(([, values]) => el("td", {}, number(values[name]))))));
}

function legend() {
  const { study, layer } = state;
  const entries = layer === "difference"
    ? Object.values(DIFFERENCE)
    : (study?.labels ?? []).filter(({ value }) => !study.hidden[value]);
  $("legend").replaceChildren(...(study && layer !== "none" ? entries : []).map(({ name, colour }) => {
    const swatch = el("span", { className: "swatch" });
    swatch.style.backgroundColor = colour;
    return el("li", {}, swatch, name);
  }));
}

function windows() {
  const { study } = state;
  const names = study?.presets ?? [];
  const markWindow = choices($("windows"), names.map(({ name }, i) => [name, name, `${i + 1}`]), pickWindow);
  markWindow(state.preset);
}

export function pickWindow(name) {
  const preset = state.study?.presets.find((entry) => entry.name === name);
  if (preset) set({ preset: name, window: { level: preset.level, width: preset.width } });
}

export function setOpacity(percent) {
  set({ opacity: Math.min(100, Math.max(0, percent)) });
}

async function remove() {
  const { current } = state;
  if ((await ask(`Remove ${current.name} and its files from this session?`, [["yes", "Remove"], ["", "Keep"]])) !== "yes") return;
  await api.removeCase(current.id);
  set({ unsaved: false, current: null, study: null, selected: null, cases: await api.cases() });
}

export function initPanel() {
  $("remove").onclick = () => remove().catch((error) => say($("stage-error"), error.message));
  $("opacity").oninput = () => setOpacity(Number($("opacity").value));
  $("outline").onchange = () => set({ outline: $("outline").checked });
  on(["current"], () => {
    head();
    scores();
  });
  on(["study", "preset"], windows);
  on(["study", "layer", "saved"], layers);
  on(["study", "layer"], () => {
    labels();
    legend();
  });
  on(["edits"], () => {
    clearTimeout(later);
    later = setTimeout(() => {
      labels();
      legend();
      if (state.study && $("layers").childElementCount !== layersOf(state.study).length) layers();
    }, 200);
  });
  on(["opacity"], () => {
    $("opacity").value = String(state.opacity);
    $("opacity-value").textContent = `${state.opacity} %`;
  });
  setOpacity(state.opacity);
  head();
}
