// A case's image and masks in memory, and which label stands at a voxel in the layer that is shown.

import * as api from "./api.js";
import { farthestApart, picturePlane, volumePlanes } from "./grid.js";
import { parseNifti } from "./nifti.js";
import { readPicture } from "./picture.js";

const SIDED = ["DX", "CR", "RG", "XR"];
export const MASKS = ["prediction", "truth", "correction"];
export const DIFFERENCE = {
  1: { name: "agreement", colour: "#8fd3b6" },
  2: { name: "false positive (predicted only)", colour: "#ff7a45" },
  3: { name: "false negative (missed)", colour: "#4ea1ff" },
  4: { name: "another label", colour: "#c792ea" },
};

/** Asks for the bytes of a case's image, before its record is there: they take longest. */
export function askImage({ id, kind }, signal, progress) {
  const bytes = api.bytes(api.imageUrl(id, kind), signal, (done, total) => progress("Loading the image", done, total));
  bytes.catch(() => {}); // told by loadStudy, which waits for it
  return bytes;
}

/** The study of a case, once the bytes of its image and masks have come; without an image (null) its masks on black. */
export async function loadStudy(detail, imageBytes, signal) {
  const read = detail.kind === "picture" ? readPicture : async (buffer) => parseNifti(buffer);
  const wanted = MASKS.filter((name) => detail.urls?.[name]);
  if (!imageBytes && !wanted.length) throw new Error("Neither the image nor a mask of this case is known.");
  const [found, ...masks] = await Promise.all([
    imageBytes?.then(read),
    ...wanted.map((name) => api.bytes(detail.urls[name], signal).then(read)),
  ]);
  const image = found ?? { ...masks[0], data: new Uint8Array(masks[0].data.length) };
  const study = { ...image, blank: !found, id: detail.id, kind: detail.kind, masks: {}, labels: labelsOf(detail), known: known(detail) };
  wanted.forEach((name, i) => {
    study.masks[name] = bytesOf(masks[i], image, name);
  });
  study.planes = study.kind === "picture"
    ? picturePlane(study, detail.sides ?? (SIDED.includes(detail.modality) ? ["R", "L"] : null)) // as X-rays are hung
    : volumePlanes(study);
  if (study.kind === "picture" && study.known) study.planes.picture.mm = [detail.spacing_mm[0], detail.spacing_mm[1], 1];
  study.hidden = new Uint8Array(256);
  study.origin = study.masks.correction ?? study.masks.prediction ?? study.masks.truth ?? null;
  return study;
}

const labelsOf = (detail) => Object.entries(detail.labels ?? {})
  .map(([value, { name, colour }]) => ({ value: Number(value), name, colour }))
  .filter(({ value }) => value > 0);

/** Whether the size of a voxel in mm is known: a picture rarely says it. */
const known = (detail) => detail.kind !== "picture" || Boolean(detail.spacing_mm?.every((mm) => mm > 0));

function bytesOf(mask, image, name) {
  if (mask.shape.some((size, axis) => size !== image.shape[axis])) {
    throw new Error(`The ${name} has ${mask.shape.join(" x ")} voxels, the image ${image.shape.join(" x ")}.`);
  }
  refuseElsewhere(mask, image, name);
  if (mask.data instanceof Uint8Array) return mask.data;
  if (mask.data.some((value) => value > 255)) throw new Error(`The ${name} has labels above 255: too many for the viewer.`);
  return Uint8Array.from(mask.data);
}

/** Masks are drawn voxel by voxel: one that is mirrored or shifted in the patient would be drawn in a wrong place. */
function refuseElsewhere(mask, image, name) {
  if (!mask.affine || !image.affine) return; // pictures
  const apart = farthestApart(mask.affine, image.affine, image.shape);
  if (apart <= Math.min(...image.spacing) / 2) return;
  throw new Error(`The ${name} lies on another grid than the image, up to ${apart.toFixed(1)} mm apart: it would be drawn `
    + "in the wrong place. Put it onto the image's grid: medseg data fix MASK --resample-label --reference IMAGE -o FIXED");
}

/** Layers that the study can show. */
export function layersOf(study) {
  const names = MASKS.filter((name) => study.masks[name]);
  if (study.masks.prediction && study.masks.truth) names.splice(2, 0, "difference");
  return names;
}

/** A function of a voxel's offset: the code (label value, or key of DIFFERENCE) in a layer; hidden labels are 0. */
export function codeAt(study, layer) {
  const { hidden, masks } = study;
  if (layer === "difference") {
    const { prediction, truth } = masks;
    return (at) => {
      const p = hidden[prediction[at]] ? 0 : prediction[at];
      const t = hidden[truth[at]] ? 0 : truth[at];
      if (p === t) return p ? 1 : 0;
      if (!t) return 2;
      return p ? 4 : 3;
    };
  }
  const mask = masks[layer];
  return mask ? (at) => (hidden[mask[at]] ? 0 : mask[at]) : () => 0;
}

/** Colours by code, [[r, g, b], ...] of 256. */
export function coloursOf(study, layer) {
  const table = Array.from({ length: 256 }, () => [255, 0, 255]);
  const entries = layer === "difference"
    ? Object.entries(DIFFERENCE).map(([code, { colour }]) => [code, colour])
    : study.labels.map(({ value, colour }) => [value, colour]);
  for (const [code, colour] of entries) table[code] = rgb(colour);
  return table;
}

export const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** Voxels of each label in a mask: Uint32Array of 256. */
export function countLabels(mask) {
  const counts = new Uint32Array(256);
  for (let at = 0; at < mask.length; at++) counts[mask[at]]++;
  return counts;
}
