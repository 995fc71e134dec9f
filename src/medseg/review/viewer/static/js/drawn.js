// What is drawn over a slice: crosshair, the brush's ring, distances, widths of heart and thorax, a scale.

import { toPlane } from "./grid.js";
import { distanceText, onThisSlice, widths } from "./measure.js";
import { state } from "./state.js";

const ratio = () => window.devicePixelRatio || 1;

/** Draws all of it; called by the pane with its canvas context and layout. */
export function crossLines(context, layout, pane) {
  const spot = ([u, v]) => [layout.left + u * layout.x, layout.top + v * layout.y];
  if (pane.name !== "picture") crosshair(context, spot(toPlane(pane.plane, state.cross)), layout);
  if (state.study.showWidths && pane.name === "picture") heartWidths(context, spot);
  for (const line of state.study.distances.filter((entry) => onThisSlice(entry, pane))) ruler(context, line, spot);
  if (["paint", "erase"].includes(state.tool) && pane.pointer) ring(context, pane, layout, spot);
  scale(context, layout, pane);
}

function crosshair(context, [x, y], layout) {
  const [cx, cy] = [x + layout.x / 2, y + layout.y / 2];
  const gap = 12 * ratio();
  context.strokeStyle = "rgba(120, 200, 255, .55)";
  context.lineWidth = ratio();
  context.beginPath();
  for (const [x0, y0, x1, y1] of [
    [0, cy, cx - gap, cy], [cx + gap, cy, context.canvas.width, cy],
    [cx, 0, cx, cy - gap], [cx, cy + gap, cx, context.canvas.height],
  ]) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  context.stroke();
}

function stroke(context, colour, points, width = 1.6) {
  context.lineWidth = width * ratio();
  context.strokeStyle = colour;
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function label(context, words, x, y, colour) {
  context.font = `600 ${13 * ratio()}px system-ui, sans-serif`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.lineWidth = 4 * ratio();
  context.strokeStyle = "rgba(0, 0, 0, .8)";
  context.strokeText(words, x, y);
  context.fillStyle = colour;
  context.fillText(words, x, y);
}

function ruler(context, line, spot) {
  const [a, b] = [spot(line.a), spot(line.b)];
  stroke(context, "#ffe066", [a, b]);
  for (const [x, y] of [a, b]) {
    context.fillStyle = "#ffe066";
    context.fillRect(x - 2.5 * ratio(), y - 2.5 * ratio(), 5 * ratio(), 5 * ratio());
  }
  label(context, distanceText(line), b[0] + 8 * ratio(), b[1] - 10 * ratio(), "#ffe066");
}

function heartWidths(context, spot) {
  const found = widths(state.study, state.layer);
  if (!found) return;
  for (const [{ from, to, row }, colour, words] of [
    [found.thorax, "#f2e7b0", "thorax"], [found.heart, "#ffb3c7", "heart"],
  ]) {
    const [a, b] = [spot([from, row]), spot([to, row])];
    stroke(context, colour, [a, b]);
    for (const [x, y] of [a, b]) stroke(context, colour, [[x, y - 8 * ratio()], [x, y + 8 * ratio()]]);
    label(context, words, a[0] + 6 * ratio(), a[1] - 12 * ratio(), colour);
  }
}

function ring(context, pane, layout, spot) {
  const [x, y] = spot(pane.pointer);
  const radius = (state.brush / 2) * Math.min(...state.study.spacing);
  const [mu, mv] = state.study.kind === "picture" ? [1, 1] : pane.plane.mm;
  context.lineWidth = 1.4 * ratio();
  context.strokeStyle = state.tool === "erase" ? "#ffb0a0" : "#ffffff";
  context.beginPath();
  context.ellipse(x, y, Math.max(2, (radius / mu) * layout.x), Math.max(2, (radius / mv) * layout.y), 0, 0, 2 * Math.PI);
  context.stroke();
}

/** A bar of a round length, where lengths are known. */
function scale(context, layout, pane) {
  if (!state.study.known) return;
  const perMm = layout.x / pane.plane.mm[0];
  const mm = [10, 20, 50, 100, 200].findLast((length) => length * perMm < context.canvas.width / 3);
  if (!mm) return;
  const [x, y] = [12 * ratio(), context.canvas.height - 14 * ratio()];
  stroke(context, "#dfe7ee", [[x, y - 4 * ratio()], [x, y], [x + mm * perMm, y], [x + mm * perMm, y - 4 * ratio()]], 1.2);
  label(context, mm < 100 ? `${mm} mm` : `${mm / 10} cm`, x + mm * perMm + 6 * ratio(), y - 3 * ratio(), "#dfe7ee");
}
