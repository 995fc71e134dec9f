// What mouse, pen and finger do on the panes, by the tool chosen.

import { $, choices, el, show } from "./dom.js";
import { toVoxel, toWorld } from "./grid.js";
import { distanceText } from "./measure.js";
import { beginStroke, endStroke, strokeTo } from "./paint.js";
import { on, set, state } from "./state.js";
import { codeAt, DIFFERENCE } from "./study.js";
import { fit, moveTo, panes, redraw, scroll } from "./view.js";

export const TOOLS = [
  ["look", "Look", "Esc: crosshair; drag to move it"], ["pan", "Move", "G: drag the picture"],
  ["window", "Window", "W: drag for brightness and contrast"], ["measure", "Measure", "D: drag a distance"],
  ["paint", "Paint", "B: paint the label"], ["erase", "Erase", "E: erase"],
];

const voxelAt = (pane, event) => {
  const [u, v] = pane.at(event);
  return [Math.floor(u), Math.floor(v)];
};

const look = {
  start: (pane, event) => look.move(pane, event),
  move(pane, event) {
    const [u, v] = voxelAt(pane, event);
    moveTo(toVoxel(pane.plane, [u, v, pane.slice]));
  },
};

const pan = {
  move(pane, event) {
    pane.panBy(event.movementX, event.movementY);
    redraw();
  },
};

const windowing = {
  move(pane, event) {
    const { level, width } = state.window;
    const step = Math.max(width, 1e-6) / 250;
    set({ preset: "", window: { level: level + event.movementY * step, width: Math.max(1e-6, width + event.movementX * step) } });
  },
};

const measure = {
  start(pane, event) {
    const at = pane.at(event);
    const { study } = state;
    const line = { plane: pane.name, w: pane.slice, a: at, b: at, mm: pane.plane.mm, unit: study.known ? "mm" : "px" };
    study.distances.push(line);
  },
  move(pane, event) {
    state.study.distances.at(-1).b = pane.at(event);
    redraw();
  },
  end() {
    const { distances } = state.study;
    const line = distances.at(-1);
    if (Math.hypot(line.a[0] - line.b[0], line.a[1] - line.b[1]) < 0.5) distances.pop();
    set({ distances });
  },
};

const brush = {
  start: (pane, event) => beginStroke(pane, voxelAt(pane, event)),
  move: (pane, event) => strokeTo(pane, voxelAt(pane, event)),
  end: () => endStroke(),
};

const ACTIONS = { look, pan, window: windowing, measure, paint: brush, erase: brush };

function actionOf(event, pane) {
  if (event.button === 1 || event.shiftKey) return pan;
  if (event.button === 2) return windowing;
  if (state.tool === "look" && pane.name === "picture") return pan;
  return ACTIONS[state.tool];
}

/** Two fingers: zooms by how far they are apart, moves with their middle. Returns whether it took the event. */
function pinch(pane, fingers, event) {
  const before = fingers.get(event.pointerId);
  fingers.set(event.pointerId, event);
  if (fingers.size !== 2) return false;
  const other = [...fingers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
  const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
  pane.zoomBy(apart(event) / apart(before), pane.at(other));
  pane.panBy((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
  redraw();
  return true;
}

function listen(pane) {
  const { canvas } = pane;
  const fingers = new Map(); // last event of each pointer that is down
  let action = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!pane.plane) return;
    fingers.set(event.pointerId, event);
    if (fingers.size > 1) return stop(event, false);
    canvas.setPointerCapture(event.pointerId);
    canvas.focus();
    action = actionOf(event, pane);
    action.start?.(pane, event);
    event.preventDefault();
    return undefined;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pane.plane || (fingers.has(event.pointerId) && pinch(pane, fingers, event))) return;
    const painting = action === brush;
    pane.pointer = pane.at(event);
    for (const step of painting ? event.getCoalescedEvents?.() ?? [event] : [event]) action?.move(pane, step);
    tell(pane, event);
    if (["paint", "erase"].includes(state.tool)) redraw();
  });
  function stop(event, lifted = true) {
    if (lifted) fingers.delete(event.pointerId);
    action?.end?.(pane, event);
    action = null;
  }
  canvas.addEventListener("pointerup", (event) => stop(event));
  canvas.addEventListener("pointercancel", (event) => stop(event));
  canvas.addEventListener("pointerleave", () => {
    pane.pointer = null;
    redraw();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => wheel(pane, event), { passive: false });
  canvas.addEventListener("dblclick", () => {
    if (state.tool === "look" && pane.name !== "picture") set({ view: state.view === "all" ? pane.name : "all" });
    else if (state.tool === "look") fit();
  });
}

let rest = 0;

function wheel(pane, event) {
  if (!pane.plane) return;
  event.preventDefault();
  if (event.ctrlKey || pane.name === "picture") {
    pane.zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.06 : 0.0018)), pane.at(event));
    return redraw();
  }
  rest += event.deltaMode ? event.deltaY * 40 : event.deltaY;
  const steps = Math.trunc(rest / 40);
  rest -= 40 * steps;
  return steps ? scroll(steps, pane) : undefined;
}

/** Says what is under the mouse: position, value, label. */
function tell(pane, event) {
  const { study, layer } = state;
  const [u, v] = voxelAt(pane, event);
  if (u < 0 || v < 0 || u >= pane.plane.size[0] || v >= pane.plane.size[1]) return;
  const [su, sv, sw] = pane.plane.step;
  const at = pane.plane.base + u * su + v * sv + pane.slice * sw;
  const value = study.data[at] * study.slope + study.intercept;
  const code = codeAt(study, layer)(at);
  const name = layer === "difference" ? DIFFERENCE[code]?.name : study.labels.find((l) => l.value === code)?.name;
  const unit = study.modality === "CT" ? " HU" : "";
  $("where").textContent = `${place(study, pane, [u, v])}   ${Number(value.toPrecision(6))}${unit}${name ? `   ${name}` : ""}`;
}

function place(study, pane, [u, v]) {
  if (!study.affine) return `column ${u + 1}, row ${v + 1}`;
  const [x, y, z] = toWorld(study.affine, toVoxel(pane.plane, [u, v, pane.slice]));
  const side = (mm, plus, minus) => `${mm >= 0 ? plus : minus} ${Math.abs(mm).toFixed(0)}`;
  return `${side(x, "R", "L")}, ${side(y, "A", "P")}, ${side(z, "S", "I")} mm`;
}

function listDistances() {
  const { study } = state;
  $("distances").replaceChildren(...(study?.distances ?? []).map((line, i) =>
    el("li", {},
      el("button", { type: "button", className: "quiet grow", title: "Go to its slice", onclick: () => {
        const p = panes[line.plane].plane;
        moveTo(toVoxel(p, [Math.floor(line.a[0]), Math.floor(line.a[1]), line.w]));
      } }, `${distanceText(line)} (${line.plane})`),
      el("button", { type: "button", className: "quiet small", "aria-label": `Remove distance ${i + 1}`, onclick: () => {
        study.distances.splice(i, 1);
        set({ distances: study.distances });
      } }, "×"))));
}

export function initTools() {
  Object.values(panes).forEach(listen);
  const mark = choices($("tools"), TOOLS, (tool) => set({ tool }));
  on(["tool", "unsaved"], () => {
    mark(state.tool);
    $("panes").dataset.tool = state.tool;
    show($("paint-box"), ["paint", "erase"].includes(state.tool) || state.unsaved);
  });
  on(["study", "distances"], listDistances);
  set({ tool: "look" });
}

