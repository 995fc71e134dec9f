// The 3-D view: NiiVue draws a coarse copy of the image with the mask in its colours. Loaded once the planes are drawn.

import { $, say } from "./dom.js";
import { writeNifti } from "./nifti.js";
import { on, state } from "./state.js";
import { codeAt, coloursOf } from "./study.js";

const MOST_VOXELS = 144; // along an axis: as fine as a tile of the page shows, and quick without a graphics card
let library = null;
let viewer = null;
let shownKey = "";
let timer = 0;

const wanted = () => state.study?.kind === "volume" && (state.view === "all" || state.view === "solid") && !document.hidden;

/** Every so manieth voxel of each axis, and the affine of that grid. */
function coarse(study) {
  const step = study.shape.map((size) => Math.ceil(size / MOST_VOXELS));
  const shape = study.shape.map((size, axis) => Math.floor(size / step[axis]));
  const affine = study.affine.map((row) => [
    ...row.slice(0, 3).map((value, axis) => value * step[axis]),
    row[3] + row.slice(0, 3).reduce((sum, value, axis) => sum + (value * (step[axis] - 1)) / 2, 0),
  ]);
  return { step, shape, affine };
}

/** Values of a function of the full grid's offset, on the coarse grid. */
function sample({ step, shape }, full, Type, of) {
  const out = new Type(shape[0] * shape[1] * shape[2]);
  let to = 0;
  const half = step.map((size) => size >> 1);
  for (let z = 0; z < shape[2]; z++) {
    for (let y = 0; y < shape[1]; y++) {
      let at = ((z * step[2] + half[2]) * full[1] + y * step[1] + half[1]) * full[0] + half[0];
      for (let x = 0; x < shape[0]; x++, at += step[0]) out[to++] = of(at);
    }
  }
  return out;
}

async function start() {
  library ??= await import("../vendor/niivue-0.69.0.js");
  if (viewer) return;
  const made = new library.Niivue({
    backColor: [0, 0, 0, 1], show3Dcrosshair: false, isOrientCube: false, isOrientationTextVisible: false,
    dragAndDropEnabled: false, logLevel: "error", loadingText: "", isColorbar: false, crosshairWidth: 0,
    viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "",
  });
  await made.attachToCanvas($("solid"), false);
  made.setSliceType(made.sliceTypeRender);
  viewer = made;
}

const imageOf = (grid, data, name, options) =>
  library.NVImage.loadFromUrl({ url: writeNifti({ ...grid, data }), name: `${name}.nii`, trustCalMinMax: true, ...options });

/** Grey values that stand out in 3-D: bone in CT, the brighter half elsewhere. */
function bright(study) {
  if (study.modality === "CT") return { cal_min: 180, cal_max: 900 };
  const full = study.presets.find(({ name }) => name === "auto");
  return { cal_min: full.level - full.width * 0.2, cal_max: full.level + full.width * 0.6 };
}

function lookup(study, layer) {
  const colours = coloursOf(study, layer).map((colour, code) => (code ? colour : [0, 0, 0]));
  return {
    R: colours.map(([r]) => r), G: colours.map(([, g]) => g), B: colours.map(([, , b]) => b),
    A: colours.map((_, code) => (code ? 255 : 0)), I: colours.map((_, code) => code),
    labels: colours.map((_, code) => String(code)),
  };
}

async function draw() {
  const { study, layer, edits } = state;
  const key = [study.serial, layer, edits].join();
  if (key === shownKey) return;
  await start();
  const grid = coarse(study);
  const grey = (at) => study.data[at] * study.slope + study.intercept;
  const mask = sample(grid, study.shape, Uint8Array, codeAt(study, layer));
  const [image, overlay] = await Promise.all([
    imageOf(grid, sample(grid, study.shape, Float32Array, grey), "image", { colormap: "gray", ...bright(study) }),
    imageOf(grid, mask, "mask", { opacity: 0.9 }),
  ]);
  if (state.study !== study) return;
  overlay.setColormapLabel(lookup(study, layer));
  while (viewer.volumes.length) viewer.removeVolumeByIndex(viewer.volumes.length - 1);
  viewer.addVolume(image);
  viewer.addVolume(overlay);
  viewer.setRenderAzimuthElevation(160, 12);
  shownKey = key;
  document.body.dataset.solid = study.id;
}

function plan() {
  clearTimeout(timer);
  if (!wanted()) return;
  timer = setTimeout(() => draw().then(() => say($("solid-note"), ""), fail), 250);
}

function fail(error) {
  const reason = document.createElement("canvas").getContext("webgl2") ? error.message : "this browser has no WebGL 2";
  say($("solid-note"), `No 3-D view: ${reason}`);
}

export function initSolid() {
  on(["study", "view", "layer", "edits"], plan);
}
