// Grey windows: what is black, what is white.

const CT = [
  { name: "lung", level: -600, width: 1500 },
  { name: "soft tissue", level: 40, width: 400 },
  { name: "bone", level: 400, width: 1800 },
];

/** Value below which the given parts of a sample of the image lie. */
function percentiles(study, parts) {
  const { data, slope, intercept } = study;
  const step = Math.max(1, Math.floor(data.length / 200_000));
  const sample = [];
  for (let at = 0; at < data.length; at += step) if (Number.isFinite(data[at])) sample.push(data[at]);
  const sorted = Float64Array.from(sample).sort();
  return parts.map((part) => slope * (sorted[Math.round(part * (sorted.length - 1))] ?? 0) + intercept);
}

/** Least and greatest value, of an image so empty that percentiles see nothing in it. */
function extremes({ data, slope, intercept }) {
  let [least, most] = [Infinity, -Infinity];
  for (let at = 0; at < data.length; at++) {
    if (!Number.isFinite(data[at])) continue;
    least = Math.min(least, data[at]);
    most = Math.max(most, data[at]);
  }
  return least <= most ? [slope * least + intercept, slope * most + intercept] : [0, 0];
}

const between = (name, low, high) => ({ name, level: (low + high) / 2, width: Math.max(high - low, 1e-6) });

/** The presets of a case, the one to start with first in `start`. */
export function presetsOf(detail, study) {
  if (study.blank) return { presets: [], start: { name: "", level: 1, width: 1 } };
  let [least, low, high, most] = percentiles(study, [0, 0.01, 0.99, 1]);
  if (low === high) [low, high] = [least, most] = extremes(study);
  const told = (detail.window_presets ?? []).map((preset) => between(preset.name.replace(/ window$/, ""), preset.low, preset.high));
  const own = told.length ? told : detail.modality === "CT" ? CT : [];
  const presets = [...own, between("auto", low, high), between("full", least, most)];
  const isLung = study.labels.some(({ name }) => /lung|lobe|airway/i.test(name));
  const wanted = detail.modality === "CT" ? (isLung ? "lung" : "soft tissue") : "auto";
  return { presets, start: presets.find(({ name }) => name.toLowerCase().includes(wanted)) ?? presets[0] };
}
