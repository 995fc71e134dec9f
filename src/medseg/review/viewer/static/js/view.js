// The panes together: which are shown, when they are drawn, how the crosshair, slices, zoom and windows move.

import { $, choices } from "./dom.js";
import { crossLines } from "./drawn.js";
import { toPlane, toVoxel } from "./grid.js";
import { Pane } from "./pane.js";
import { on, set, state } from "./state.js";

export const VIEWS = [["all", "All"], ["axial", "Axial"], ["coronal", "Coronal"], ["sagittal", "Sagittal"], ["solid", "3-D"]];
export const panes = {};
let planned = false;

/** Names of the panes on the screen now. */
export function visiblePanes() {
  if (!state.study) return [];
  if (state.study.kind === "picture") return ["picture"];
  return state.view === "all" ? ["axial", "coronal", "sagittal"] : [state.view].filter((name) => panes[name]);
}

/** Draws what is shown with the next frame, once however often it is asked for. */
export function redraw() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    drawNow();
  });
}

export function drawNow() {
  for (const name of visiblePanes()) panes[name].draw(crossLines);
}

export function moveTo(voxel) {
  const { shape } = state.study;
  set({ cross: voxel.map((at, axis) => Math.min(shape[axis] - 1, Math.max(0, Math.round(at)))) });
}

/** The pane that keys move. */
export function activePane() {
  const names = visiblePanes();
  return panes[names.includes(state.active) ? state.active : names[0]] ?? null;
}

export function scroll(steps, pane = activePane()) {
  if (!pane?.plane || pane.name === "picture") return;
  const at = toPlane(pane.plane, state.cross);
  at[2] = Math.min(pane.plane.size[2] - 1, Math.max(0, at[2] + steps));
  set({ cross: toVoxel(pane.plane, at) });
}

/** The slider that moves the active pane: the way through the slices where there is no wheel. */
function showSlider() {
  const pane = activePane();
  const volume = Boolean(pane?.plane) && pane.name !== "picture";
  $("slice-box").hidden = !volume;
  if (!volume) return;
  $("slice-of").textContent = pane.name[0].toUpperCase() + pane.name.slice(1);
  $("slice").max = String(pane.plane.size[2]);
  $("slice").value = String(pane.slice + 1);
}

export function zoom(factor) {
  for (const name of visiblePanes()) {
    const pane = panes[name];
    pane.zoomBy(factor, pane.centre ?? toPlane(pane.plane, state.cross).slice(0, 2));
  }
  redraw();
}

export function fit() {
  Object.values(panes).forEach((pane) => pane.reset());
  redraw();
}

export function cycleView() {
  if (state.study?.kind !== "volume") return;
  const at = VIEWS.findIndex(([name]) => name === state.view);
  set({ view: VIEWS[(at + 1) % VIEWS.length][0] });
}

function layOut() {
  const picture = state.study?.kind === "picture";
  $("panes").dataset.view = state.study ? (picture ? "picture" : state.view) : "none";
  $("views").hidden = !state.study || picture;
  redraw();
}

export function initView() {
  for (const name of ["axial", "coronal", "sagittal", "picture"]) {
    const canvas = document.querySelector(`.pane[data-plane="${name}"] canvas`);
    panes[name] = new Pane(canvas, name);
    canvas.addEventListener("focus", () => set({ active: name }));
  }
  const mark = choices($("views"), VIEWS.map(([name, label]) => [name, label, "V: next view"]), (view) => set({ view }));
  on(["view", "study"], () => {
    mark(state.view);
    layOut();
  });
  on(["study", "cross", "window", "layer", "opacity", "outline", "edits", "tool", "brush", "distances"], redraw);
  on(["active"], () => Object.entries(panes).forEach(([name, pane]) => {
    pane.canvas.parentElement.classList.toggle("active", name === state.active);
  }));
  on(["study", "view", "cross", "active"], showSlider);
  $("slice").oninput = () => scroll(Number($("slice").value) - 1 - activePane().slice);
  $("fit").onclick = fit;
  new ResizeObserver(redraw).observe($("panes"));
  layOut();
}
