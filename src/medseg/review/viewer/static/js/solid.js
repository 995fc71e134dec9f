// The 3-D view: NiiVue draws a coarse copy of the image with the mask in its colours. Loaded once the planes are drawn.

import { $, say } from "./dom.js";
import { writeNifti } from "./nifti.js";
import { on, state } from "./state.js";
import { codeAt, coloursOf } from "./study.js";

const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;
const MOST_VOXELS = { card: 160, processor: 104 }; // along an axis: without a graphics card fewer, so that it turns
const PROCESSOR_PIXELS = 0.4; // drawn per pixel of the page, along an axis
let library = null;
let viewer = null;
let shown = { serial: 0, key: "" };
let overlay = null;
let timer = 0;
let mostVoxels = MOST_VOXELS.card;

const wanted = () => state.study?.kind === "volume" && (state.view === "all" || state.view === "solid") && !document.hidden;

/** Every so manieth voxel of each axis, and the affine of that grid. */
function coarse(study) {
  const step = study.shape.map((size) => Math.ceil(size / mostVoxels));
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

/** Pixels of the view per pixel of the page; null where the computer has no WebGL 2. */
function resolution() {
  const context = document.createElement("canvas").getContext("webgl2");
  if (!context) return null;
  const told = context.getExtension("WEBGL_debug_renderer_info");
  const renderer = context.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : context.RENDERER);
  context.getExtension("WEBGL_lose_context")?.loseContext();
  if (!SOFTWARE.test(renderer)) return window.devicePixelRatio || 1;
  mostVoxels = MOST_VOXELS.processor;
  return PROCESSOR_PIXELS;
}

async function start() {
  library ??= await import("../vendor/niivue-0.69.0.js");
  if (viewer) return;
  const ratio = resolution();
  if (ratio === null) throw new Error("this browser has no WebGL 2");
  const made = new library.Niivue({
    backColor: [0, 0, 0, 1], show3Dcrosshair: false, isOrientCube: false, isOrientationTextVisible: false,
    dragAndDropEnabled: false, forceDevicePixelRatio: ratio, logLevel: "error", loadingText: "", isColorbar: false, crosshairWidth: 0,
    viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "",
  });
  await made.attachToCanvas($("solid"), false);
  made.setSliceType(made.sliceTypeRender);
  made.onAzimuthElevationChange = tellSides;
  viewer = made;
}

// Left and right of the screen when the patient is seen from behind, from the left, from the front, from the right.
const SIDES = [["L", "R"], ["A", "P"], ["R", "L"], ["P", "A"]];

function tellSides(azimuth) {
  const [left, right] = SIDES[(((Math.round(azimuth / 90) % 4) + 4) % 4)];
  $("solid-left").textContent = left;
  $("solid-right").textContent = right;
}

const LABELS = 1002; // NIFTI_INTENT_LABEL: values index the colours

const imageOf = (grid, data, intent, options) => library.NVImage.loadFromUrl({
  url: writeNifti({ ...grid, data, intent }), name: intent ? "mask.nii" : "image.nii", trustCalMinMax: true, ...options,
});

/** Grey values that stand out in 3-D: bone in CT, the brighter half elsewhere. */
function bright(study) {
  if (study.blank) return { cal_min: 1, cal_max: 2 };
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
  if (key === shown.key) return;
  await start();
  const grid = coarse(study);
  const mask = sample(grid, study.shape, Uint8Array, codeAt(study, layer));
  if (shown.serial === study.serial) {
    overlay.img.set(mask);
    overlay.setColormapLabel(lookup(study, layer));
    viewer.refreshLayers(overlay, 1);
    viewer.drawScene();
  } else if (!(await drawNew(study, layer, grid, mask))) return;
  shown = { serial: study.serial, key };
  document.body.dataset.solid = study.id;
}

/** Puts another study into the view; false where the reader has gone on meanwhile. */
async function drawNew(study, layer, grid, mask) {
  const grey = (at) => study.data[at] * study.slope + study.intercept;
  const [image, labels] = await Promise.all([
    imageOf(grid, sample(grid, study.shape, Float32Array, grey), 0, { colormap: "gray", ...bright(study) }),
    imageOf(grid, mask, LABELS, { opacity: 0.9 }),
  ]);
  if (state.study !== study) return false;
  labels.setColormapLabel(lookup(study, layer));
  while (viewer.volumes.length) viewer.removeVolumeByIndex(viewer.volumes.length - 1);
  viewer.addVolume(image);
  viewer.addVolume(labels);
  viewer.setScale(1.25);
  viewer.setRenderAzimuthElevation(165, 10);
  tellSides(165);
  overlay = labels;
  return true;
}

function plan() {
  clearTimeout(timer);
  if (!wanted()) return;
  const wait = shown.serial === state.study.serial ? 400 : 800; // the planes come first
  timer = setTimeout(() => draw().then(() => say($("solid-note"), ""), fail), wait);
}

function fail(error) {
  say($("solid-note"), `No 3-D view: ${error.message}`);
}

export function initSolid() {
  on(["study", "view", "layer", "edits"], plan);
  document.addEventListener("visibilitychange", plan);
}
