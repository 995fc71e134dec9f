// What the page shows now, in one place; parts of the page listen for the names they care about.

export const state = {
  server: null, // /api/state
  cases: [], // /api/cases
  current: null, // /api/cases/{id} of the open case
  study: null, // its image and masks, see study.js
  view: "all", // all | axial | coronal | sagittal | solid
  layer: "none", // none | prediction | truth | difference | correction
  opacity: 35, // of the mask, percent
  outline: true,
  window: { level: 0, width: 1 },
  preset: "",
  tool: "look", // look | pan | window | measure | paint | erase
  brush: 9, // diameter, in the smallest voxel width
  ball: false,
  paintLabel: 1,
  cross: [0, 0, 0], // voxel under the crosshair
  active: "axial", // plane that keys move
  edits: 0, // grows with each change of the correction
  unsaved: false,
};

const bus = new EventTarget();

export function set(patch) {
  Object.assign(state, patch);
  bus.dispatchEvent(new CustomEvent("change", { detail: Object.keys(patch) }));
}

/** Calls `react` when any of `names` was set. */
export function on(names, react) {
  bus.addEventListener("change", (event) => {
    if (event.detail.some((name) => names.includes(name))) react();
  });
}
