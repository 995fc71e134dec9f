// Opens a case: asks the server for it, loads its study, sets what is shown first, tells when it is drawn.

import * as api from "./api.js";
import { $, say, show } from "./dom.js";
import { on, set, state } from "./state.js";
import { askImage, layersOf, loadStudy } from "./study.js";
import { mayLeave } from "./paint.js";
import { drawNow } from "./view.js";
import { presetsOf } from "./windows.js";

let loading = null; // AbortController of the case on its way
let serial = 0;

function waiting(text, done, total) {
  const box = $("waiting");
  show(box, Boolean(text));
  if (!text) return;
  const bar = box.querySelector("progress");
  box.querySelector("p").textContent = total ? `${text}: ${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB` : text;
  if (total) Object.assign(bar, { max: total, value: done });
  else bar.removeAttribute("value");
}

function firstLayer(study) {
  const names = layersOf(study);
  return ["correction", "prediction", "truth"].find((name) => names.includes(name)) ?? "none";
}

/** Shows a loaded study and tells so on the page: `document.body.dataset.ready` is the case's id once it is drawn. */
function present(detail, study) {
  const { presets, start } = presetsOf(detail, study);
  Object.assign(study, {
    serial: ++serial, presets, distances: [], showWidths: false, modality: detail.modality,
    version: detail.correction?.version ?? 0,
  });
  const middle = study.shape.map((size) => Math.floor(size / 2));
  const layer = firstLayer(study);
  set({
    current: detail, study, layer, cross: busiest(study, layer, middle),
    preset: start.name, window: { level: start.level, width: start.width }, edits: 0,
  });
  drawNow();
  requestAnimationFrame(() => {
    if (state.study === study) document.body.dataset.ready = detail.id;
  });
}

/** Along each axis where the mask is largest (the middle of the image without one), so that the first view shows it. */
function busiest(study, layer, middle) {
  const mask = study.masks[layer];
  if (!mask || study.kind === "picture") return middle;
  const [nx, ny, nz] = study.shape;
  const counts = study.shape.map((size) => new Uint32Array(size));
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y += 2) {
      const row = (z * ny + y) * nx;
      for (let x = 0; x < nx; x += 2) {
        if (!mask[row + x]) continue;
        counts[0][x]++;
        counts[1][y]++;
        counts[2][z]++;
      }
    }
  }
  return counts.map((along, axis) => {
    const most = Math.max(...along);
    const large = [...along.keys()].filter((at) => along[at] >= 0.98 * most);
    return most ? large[large.length >> 1] : middle[axis];
  });
}

/** Opens the case with this id; false where the reader chose to stay, or it could not be opened. */
export async function openCase(id) {
  if (!(await mayLeave())) return false;
  loading?.abort();
  const mine = (loading = new AbortController());
  for (const sign of ["ready", "failed", "solid"]) delete document.body.dataset[sign];
  say($("stage-error"), "");
  show($("welcome"), false);
  waiting("Loading");
  set({ selected: id });
  history.replaceState(null, "", `#case=${encodeURIComponent(id)}`);
  try {
    const entry = state.cases.find((one) => one.id === id);
    const image = entry?.has_image === false ? null : askImage(entry ?? { id, kind: "volume" }, mine.signal, waiting);
    const detail = await api.caseOf(id, mine.signal);
    const study = await loadStudy(detail, image, mine.signal);
    if (mine.signal.aborted) return false;
    waiting("");
    present(detail, study);
    return true;
  } catch (error) {
    if (error.name === "AbortError" || mine.signal.aborted) return false;
    waiting("");
    say($("stage-error"), error.message); // first, as it stands in place of the welcome
    set({ current: null, study: null });
    document.body.dataset.failed = id;
    return false;
  }
}

/** Reads the open case's record again (scores, review, files), without its voxels. */
export async function refreshCase() {
  const { id } = state.current ?? {};
  const current = id && (await api.caseOf(id));
  if (current && state.current?.id === id) set({ current }); // another case may have been opened meanwhile
}

export function initOpen() {
  on(["study"], () => show($("welcome"), !state.study && $("waiting").hidden && $("stage-error").hidden));
}

/** The case that the address names, if any. */
export const wantedCase = () => new URLSearchParams(location.hash.slice(1)).get("case");
