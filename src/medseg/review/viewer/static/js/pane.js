// One canvas that shows one plane of the study: picture, mask, outlines, letters, crosshair, lines.

import { toPlane } from "./grid.js";
import { codeSlice, greySlice, outlines, paintCodes } from "./slicing.js";
import { state } from "./state.js";
import { codeAt, coloursOf } from "./study.js";

const TITLES = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", picture: "Picture" };

export class Pane {
  constructor(canvas, name) {
    this.canvas = canvas;
    this.name = name;
    // drawn by the processor: slices must not wait for the 3-D view where there is no graphics card
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.grey = new OffscreenCanvas(1, 1);
    this.mask = new OffscreenCanvas(1, 1);
    this.pointer = null; // (u, v) under the mouse, for the brush's ring
    this.grid = "";
    this.reset();
  }

  get plane() {
    return state.study?.planes[this.name] ?? null;
  }

  get slice() {
    return toPlane(this.plane, state.cross)[2];
  }

  reset() {
    this.zoom = 1;
    this.centre = null; // (u, v) in the middle of the canvas; null: the picture's middle
    this.greyKey = this.maskKey = "";
  }

  /** Zoom and middle are of one grid: on a smaller one they may show nothing at all. */
  follow() {
    const grid = [...this.plane.size, ...this.plane.mm].join();
    if (grid !== this.grid) this.reset();
    this.grid = grid;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    return width > 0 && height > 0;
  }

  /** Pixels of the canvas per voxel to the right and down, and where voxel corner (0, 0) is. */
  layout() {
    const [nu, nv] = this.plane.size;
    const [mu, mv] = this.plane.mm;
    const { width, height } = this.canvas;
    const fit = Math.min(width / (nu * mu), height / (nv * mv)) * this.zoom;
    const [cu, cv] = this.centre ?? [nu / 2, nv / 2];
    return { x: fit * mu, y: fit * mv, left: width / 2 - cu * fit * mu, top: height / 2 - cv * fit * mv };
  }

  /** (u, v) in voxels, fractional, at a mouse or pen event. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const { x, y, left, top } = this.layout();
    return [((event.clientX - box.left) * ratio - left) / x, ((event.clientY - box.top) * ratio - top) / y];
  }

  /** Zooms by a factor about (u, v), which stays where it is. */
  zoomBy(factor, [u, v]) {
    const [nu, nv] = this.plane.size;
    const [cu, cv] = this.centre ?? [nu / 2, nv / 2];
    const zoom = Math.min(40, Math.max(0.5, this.zoom * factor));
    const real = zoom / this.zoom;
    this.zoom = zoom;
    this.centre = [u + (cu - u) / real, v + (cv - v) / real];
  }

  panBy(dx, dy) {
    const [nu, nv] = this.plane.size;
    const [cu, cv] = this.centre ?? [nu / 2, nv / 2];
    const ratio = window.devicePixelRatio || 1;
    const { x, y } = this.layout();
    this.centre = [cu - (dx * ratio) / x, cv - (dy * ratio) / y];
  }

  draw(extras) {
    if (!this.plane || !this.resize()) return;
    this.follow();
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    this.fill();
    const layout = this.layout();
    const [nu, nv] = this.plane.size;
    const box = [layout.left, layout.top, nu * layout.x, nv * layout.y];
    context.imageSmoothingEnabled = layout.x < 12;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.grey, ...box);
    this.drawMask(layout, box);
    extras?.(context, layout, this);
    this.drawLetters();
    this.describe();
  }

  /** Brings the two slices up to date with what they show. */
  fill() {
    const { study, window: shown, layer, edits } = state;
    const [nu, nv] = this.plane.size;
    const size = (canvas) => {
      if (canvas.width !== nu || canvas.height !== nv) Object.assign(canvas, { width: nu, height: nv });
    };
    const greyKey = [study.id, study.serial, this.slice, shown.level, shown.width].join();
    if (greyKey !== this.greyKey) {
      size(this.grey);
      const pixels = new ImageData(nu, nv);
      greySlice(study, this.plane, this.slice, shown, pixels);
      this.grey.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
      this.greyKey = greyKey;
    }
    const maskKey = [study.id, study.serial, this.slice, layer, edits, study.hidden.join("")].join();
    if (maskKey !== this.maskKey) {
      size(this.mask);
      this.fillMask(nu, nv);
      this.maskKey = maskKey;
    }
  }

  fillMask(nu, nv) {
    const { study, layer } = state;
    const { codes, any } = codeSlice(codeAt(study, layer), this.plane, this.slice);
    this.colours = coloursOf(study, layer);
    this.lines = any ? outlines(codes, nu, nv) : new Map();
    this.any = any;
    const pixels = new ImageData(nu, nv);
    if (any) paintCodes(codes, this.colours, pixels);
    this.mask.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
  }

  drawMask({ x, y, left, top }, box) {
    if (!this.any || state.opacity === 0) return;
    const { context } = this;
    context.globalAlpha = state.opacity / 100;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.mask, ...box);
    if (state.outline) {
      context.globalAlpha = Math.min(1, 0.35 + state.opacity / 60);
      context.setTransform(x, 0, 0, y, left, top);
      for (const [code, path] of this.lines) {
        context.strokeStyle = `rgb(${this.colours[code].join()})`;
        context.lineWidth = (1.4 * (window.devicePixelRatio || 1)) / Math.min(x, y);
        context.stroke(path);
      }
      context.setTransform(1, 0, 0, 1, 0, 0);
    }
    context.globalAlpha = 1;
  }

  drawLetters() {
    const { context, canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const { left, right, top, bottom } = this.plane.letters;
    const text = (words, x, y, align, size) => {
      context.font = `600 ${size * ratio}px system-ui, sans-serif`;
      context.textAlign = align;
      context.lineWidth = 3 * ratio;
      context.strokeStyle = "rgba(0,0,0,.75)";
      context.fillStyle = "#f2e7b0";
      context.strokeText(words, x, y);
      context.fillText(words, x, y);
    };
    context.textBaseline = "middle";
    text(left, 10 * ratio, canvas.height / 2, "left", 16);
    text(right, canvas.width - 10 * ratio, canvas.height / 2, "right", 16);
    text(top, canvas.width / 2, 14 * ratio, "center", 14);
    text(bottom, canvas.width / 2, canvas.height - 14 * ratio, "center", 14);
    if (this.name === "picture") return;
    text(`${TITLES[this.name]} ${this.slice + 1}/${this.plane.size[2]}`, 10 * ratio, 14 * ratio, "left", 12);
  }

  describe() {
    const { left } = this.plane.letters;
    const side = { R: "the patient's right is on the left", A: "the patient's front is on the left" }[left] ?? "";
    const slice = this.name === "picture" ? "" : ` slice ${this.slice + 1} of ${this.plane.size[2]}`;
    this.canvas.setAttribute("aria-label", `${TITLES[this.name]}${slice}${side ? `; ${side}` : ""}`);
  }
}
