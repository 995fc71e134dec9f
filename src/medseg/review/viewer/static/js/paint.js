// Correcting a mask: brush strokes on a copy of it, undo, saving as a new label.

import * as api from "./api.js";
import { $, ask, el, say } from "./dom.js";
import { on, set, state } from "./state.js";

const KEPT_STROKES = 200;
let done = []; // strokes: {at: [offsets], was: [values], value}
let undone = [];
let stroke = null;
let last = null;
let savedAt = 0; // length of `done` when it was saved; -1: no way back to it
let saving = null; // the promise of `save` while it is on its way

/** The mask that is painted on: the case's correction, made from the prediction (or truth) where there is none yet. */
function correction() {
  const { study } = state;
  study.masks.correction ??= study.origin ? study.origin.slice() : new Uint8Array(study.data.length);
  return study.masks.correction;
}

export function beginStroke(pane, at) {
  correction();
  if (state.layer !== "correction") set({ layer: "correction" });
  stroke = { at: [], was: [], value: state.tool === "erase" ? 0 : state.paintLabel };
  last = at;
  stamp(pane, at);
  set({ edits: state.edits + 1 });
}

/** Sizes of a voxel of the pane, by which the brush is round; a picture's pixels count as squares. */
const sizes = ({ plane }) => (state.study.kind === "picture" ? [1, 1, 1] : plane.mm);

/** Paints along the way from the last point, so that a quick hand leaves no gaps, also across thick slices. */
export function strokeTo(pane, at) {
  if (!stroke || (at[0] === last[0] && at[1] === last[1])) return;
  const [mu, mv] = sizes(pane);
  const steps = Math.max(Math.abs(at[0] - last[0]) * mu, Math.abs(at[1] - last[1]) * mv) / Math.min(...state.study.spacing);
  const stride = Math.max(1, Math.floor(state.brush / 5));
  for (let step = stride; step < steps; step += stride) {
    stamp(pane, [0, 1].map((i) => Math.round(last[i] + ((at[i] - last[i]) * step) / steps)));
  }
  stamp(pane, at);
  last = at;
  set({ edits: state.edits + 1 });
}

export function endStroke() {
  if (stroke?.at.length) {
    if (savedAt > done.length) savedAt = -1;
    done.push(stroke);
    undone = [];
    if (done.length > KEPT_STROKES) {
      done.shift();
      savedAt -= 1;
    }
  }
  stroke = null;
  changed();
}

/** A disc (or ball) round voxel (u, v) of the pane's slice, `brush` times the smallest voxel width across. */
function stamp(pane, [u, v]) {
  const { plane } = pane;
  const radius = (state.brush / 2) * Math.min(...state.study.spacing);
  const mm = sizes(pane);
  const reach = mm.map((size) => Math.floor(radius / size));
  if (!state.ball) reach[2] = 0;
  const w = pane.slice;
  for (let dw = -reach[2]; dw <= reach[2]; dw++) {
    for (let dv = -reach[1]; dv <= reach[1]; dv++) {
      for (let du = -reach[0]; du <= reach[0]; du++) {
        if ((du * mm[0]) ** 2 + (dv * mm[1]) ** 2 + (dw * mm[2]) ** 2 <= radius ** 2) put(plane, u + du, v + dv, w + dw);
      }
    }
  }
}

function put(plane, u, v, w) {
  const [nu, nv, nw] = plane.size;
  if (u < 0 || v < 0 || w < 0 || u >= nu || v >= nv || w >= nw) return;
  const mask = state.study.masks.correction;
  const at = plane.base + u * plane.step[0] + v * plane.step[1] + w * plane.step[2];
  if (mask[at] === stroke.value) return;
  stroke.at.push(at);
  stroke.was.push(mask[at]);
  mask[at] = stroke.value;
}

export function undo() {
  const last = stroke ? null : done.pop(); // a stroke that is being drawn lies on top of it
  if (!last) return;
  const mask = state.study.masks.correction;
  last.at.forEach((at, i) => (mask[at] = last.was[i]));
  undone.push(last);
  changed();
}

export function redo() {
  const next = stroke ? null : undone.pop();
  if (!next) return;
  const mask = state.study.masks.correction;
  next.at.forEach((at) => (mask[at] = next.value));
  done.push(next);
  changed();
}

function changed() {
  $("undo").disabled = !done.length;
  $("redo").disabled = !undone.length;
  const unsaved = done.length !== savedAt;
  $("save").disabled = !unsaved;
  set({ edits: state.edits + 1, unsaved, layer: state.study?.masks.correction && unsaved ? "correction" : state.layer });
}

/** Saves the correction, once however often it is asked for; resolves to whether it is on the server's disk now. */
export function save() {
  if (!state.unsaved) return Promise.resolve(true);
  saving ??= saveNow().finally(() => (saving = null));
  return saving;
}

async function saveNow() {
  const { study, current } = state;
  const by = $("reviewer").value.trim();
  if (!by) {
    say($("save-note"), "Say who you are first (Your name, below): it is kept with the correction.");
    $("reviewer").focus();
    return false;
  }
  $("save").disabled = true;
  say($("save-note"), "Saving...");
  const shape = study.kind === "picture" ? study.shape.slice(0, 2) : study.shape;
  const latest = done.at(-1); // strokes that come while it is on its way are not in it
  let record;
  try {
    record = await api.saveCorrection(current.id, study.masks.correction, { shape, by, from: study.version });
  } catch (error) {
    say($("save-note"), error.message);
    $("save").disabled = false;
    return false;
  }
  study.version = record.version;
  set({ saved: current.id });
  if (state.study !== study) return true;
  savedAt = latest ? done.indexOf(latest) + 1 || -1 : 0;
  say($("save-note"), [`Saved as version ${record.version} by ${record.by}.`, record.note].filter(Boolean).join(" "));
  changed();
  return true;
}

/** Whether the open case may be left: asks where strokes are not saved. */
export async function mayLeave() {
  if (!state.unsaved) return true;
  const answer = await ask("This case has strokes that are not saved.", [
    ["save", "Save"], ["discard", "Discard"], ["", "Stay"],
  ]);
  if (answer === "save") return (await save()) && mayLeave();
  return answer === "discard";
}

function reset() {
  [done, undone, stroke, savedAt] = [[], [], null, 0];
  $("undo").disabled = $("redo").disabled = $("save").disabled = true;
  const made = state.current?.correction;
  say($("save-note"), made ? `Correction ${made.version} by ${made.by || "unknown"}, ${made.when.slice(0, 16).replace("T", " ")}.` : "");
  const labels = state.study?.labels ?? [];
  $("paint-label").replaceChildren(...labels.map(({ value, name }) => el("option", { value: String(value) }, name)));
  set({ unsaved: false, paintLabel: labels[0]?.value ?? 1 });
}

export function setBrush(size) {
  set({ brush: Math.min(60, Math.max(1, size)) });
}

export function initPaint() {
  $("undo").onclick = undo;
  $("redo").onclick = redo;
  $("save").onclick = save;
  $("brush").oninput = () => setBrush(Number($("brush").value));
  $("ball").onchange = () => set({ ball: $("ball").checked });
  $("paint-label").onchange = () => set({ paintLabel: Number($("paint-label").value), tool: "paint" });
  on(["paintLabel"], () => ($("paint-label").value = String(state.paintLabel)));
  on(["brush", "study"], () => {
    $("brush").value = String(state.brush);
    const mm = state.study?.known && state.study.kind === "volume" ? ` (${(state.brush * Math.min(...state.study.spacing)).toFixed(1)} mm)` : "";
    $("brush-value").textContent = `${state.brush} px${mm}`;
  });
  on(["study"], reset);
  window.addEventListener("beforeunload", (event) => {
    if (state.unsaved) event.preventDefault();
  });
  setBrush(state.brush);
}
