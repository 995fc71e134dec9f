// Measurements: distances, volumes of labels, the cardiothoracic ratio.

import { countLabels } from "./study.js";

/** Whether a distance lies on the slice that a pane shows. */
export const onThisSlice = (line, pane) => line.plane === pane.name && line.w === pane.slice;

/** Length of a line {a, b: (u, v) in voxels, mm: (du, dv)}. */
export const distance = ({ a, b, mm }) => Math.hypot((a[0] - b[0]) * mm[0], (a[1] - b[1]) * mm[1]);

export const distanceText = (line) => `${distance(line).toFixed(1)} ${line.unit}`;

/** Voxels, and ml or cm2 where the size of a voxel is known, of each label in a mask. */
export function amounts(study, mask) {
  const counts = countLabels(mask);
  return new Map(study.labels.map(({ value }) => [value, amount(study, counts[value])]));
}

export function amount(study, voxels) {
  if (!study.known) return { voxels, value: voxels, unit: "px" };
  if (study.kind === "picture") {
    const [mu, mv] = study.planes.picture.mm;
    return { voxels, value: (voxels * mu * mv) / 100, unit: "cm²" };
  }
  return { voxels, value: (voxels * study.spacing.reduce((a, b) => a * b)) / 1000, unit: "ml" };
}

export function amountText({ value, unit }) {
  const digits = unit === "px" || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

/** Label values of heart and lungs, by their names; null where the case has none. */
function thoracic(study) {
  const values = (pattern) => study.labels.filter(({ name }) => pattern.test(name)).map(({ value }) => value);
  const [heart, lungs] = [values(/\bheart\b/i), values(/\blung\b/i)];
  return heart.length === 1 && lungs.length > 0 ? { heart: heart[0], lungs } : null;
}

/** Columns from the first to after the last that hold one of `values`, and the rows likewise; null without any. */
function extent(mask, width, values) {
  const wanted = new Set(values);
  let [left, right, top, bottom] = [Infinity, -1, Infinity, -1];
  for (let at = 0; at < mask.length; at++) {
    if (!wanted.has(mask[at])) continue;
    const column = at % width;
    const row = (at / width) | 0;
    left = Math.min(left, column);
    right = Math.max(right, column);
    top = Math.min(top, row);
    bottom = Math.max(bottom, row);
  }
  return right < 0 ? null : { from: left, to: right + 1, top, bottom: bottom + 1 };
}

/** Widths of heart and thorax on an X-ray's mask, after Danzer (AJMS 1919;157:513); null where one of them is missing. */
export function widths(study, layer) {
  const mask = study.masks[layer] ?? study.masks.prediction;
  const values = study.kind === "picture" ? thoracic(study) : null;
  if (!mask || !values) return null;
  const heart = extent(mask, study.shape[0], [values.heart]);
  const sides = values.lungs.map((value) => extent(mask, study.shape[0], [value]));
  if (!heart || sides.some((side) => !side)) return null;
  const thorax = extent(mask, study.shape[0], values.lungs);
  return {
    heart: { ...heart, row: (heart.top + heart.bottom) / 2 },
    thorax: { ...thorax, row: thorax.bottom - (thorax.bottom - thorax.top) / 8 },
    ratio: (heart.to - heart.from) / (thorax.to - thorax.from),
  };
}
