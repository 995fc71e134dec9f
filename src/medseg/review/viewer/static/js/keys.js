// The keyboard.

import { step } from "./cases.js";
import { $, el } from "./dom.js";
import { redo, save, setBrush, undo } from "./paint.js";
import { nextLayer, pickWindow, setOpacity } from "./panel.js";
import { judge } from "./review.js";
import { set, state } from "./state.js";
import { cycleView, fit, scroll, zoom } from "./view.js";

const tool = (name) => () => set({ tool: name });
let opacityBefore = 35;

function maskOnOff() {
  if (state.opacity > 0) {
    opacityBefore = state.opacity;
    setOpacity(0);
  } else setOpacity(opacityBefore);
}

function escape() {
  if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
  set({ tool: "look" });
}

// key: [what it does, said in the help, group]
const KEYS = {
  n: [() => step(1), "next case", "Cases"],
  p: [() => step(-1), "previous case", "Cases"],
  "/": [() => $("search").focus(), "search the cases", "Cases"],
  // a key held down repeats itself, which would take the verdict back
  a: [(event) => event.repeat || judge("accepted"), "accept the case", "Cases"],
  x: [(event) => event.repeat || judge("rejected"), "reject the case", "Cases"],
  ArrowDown: [() => scroll(1), "next slice (towards the feet, the back, the left)", "View"],
  ArrowUp: [() => scroll(-1), "previous slice", "View"],
  PageDown: [() => scroll(10), "ten slices on", "View"],
  PageUp: [() => scroll(-10), "ten slices back", "View"],
  v: [cycleView, "next view: planes, axial, coronal, sagittal, 3-D", "View"],
  f: [fit, "fit the picture", "View"],
  z: [() => zoom(1.25), "zoom in (Shift: out)", "View"],
  Z: [() => zoom(0.8), "", "View"],
  1: [() => pickNth(0), "windows 1 to 5, as in the bar", "View"],
  t: [nextLayer, "prediction, truth, difference, correction", "Mask"],
  m: [maskOnOff, "mask on and off", "Mask"],
  "+": [() => setOpacity(state.opacity + 10), "mask more opaque", "Mask"],
  "-": [() => setOpacity(state.opacity - 10), "mask clearer", "Mask"],
  o: [() => $("outline").click(), "outlines on and off", "Mask"],
  b: [tool("paint"), "paint", "Tools"],
  e: [tool("erase"), "erase", "Tools"],
  "]": [() => setBrush(state.brush + 1), "larger brush", "Tools"],
  "[": [() => setBrush(state.brush - 1), "smaller brush", "Tools"],
  l: [nextLabel, "next label to paint", "Tools"],
  d: [tool("measure"), "measure a distance", "Tools"],
  w: [tool("window"), "brightness and contrast", "Tools"],
  g: [tool("pan"), "move the picture", "Tools"],
  Escape: [escape, "back to the crosshair", "Tools"],
  "?": [openHelp, "this help", "View"],
};
const WITH_CTRL = {
  z: [undo, "undo"], Z: [redo, "redo (also Ctrl+Y)"], y: [redo, ""], s: [save, "save the correction"],
};
const MOUSE = [
  ["drag", "what the tool does"], ["wheel", "slices; on an X-ray zoom"], ["Ctrl + wheel", "zoom"],
  ["right button", "brightness and contrast"], ["Shift + drag", "move the picture"], ["double click", "one plane, and back"],
];

const pickNth = (at) => pickWindow(state.study?.presets[at]?.name);

function nextLabel() {
  const values = (state.study?.labels ?? []).map(({ value }) => value);
  if (values.length) set({ paintLabel: values[(values.indexOf(state.paintLabel) + 1) % values.length] });
}

function openHelp() {
  $("help").showModal();
  $("help").scrollTop = 0;
}

const typing = (node) => node?.matches?.("input:not([type=checkbox], [type=range]), textarea, select") ?? false;

function press(event) {
  if (document.querySelector("dialog[open]")) return undefined;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return undefined;
  }
  const ctrl = event.ctrlKey || event.metaKey;
  if (event.target === $("cases") && ["ArrowDown", "ArrowUp"].includes(event.key)) {
    event.preventDefault();
    return step(event.key === "ArrowDown" ? 1 : -1);
  }
  if (event.altKey) return undefined;
  const found = ctrl ? WITH_CTRL[event.key] : KEYS[event.key] ?? (/^[2-9]$/.test(event.key) ? [() => pickNth(event.key - 1)] : null);
  if (!found || (event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow"))) return undefined;
  event.preventDefault();
  return found[0](event);
}

const name = (key) => ({ ArrowDown: "↓", ArrowUp: "↑", PageDown: "Page ↓", PageUp: "Page ↑", Escape: "Esc", 1: "1 to 5" })[key] ?? key.toUpperCase();

function helpGroup(title, rows) {
  return el("section", {}, el("h3", {}, title),
    el("dl", {}, ...rows.flatMap(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)])));
}

export function initKeys() {
  const rows = (group) => Object.entries(KEYS).filter(([, entry]) => entry[2] === group && entry[1]).map(([key, entry]) => [name(key), entry[1]]);
  const ctrl = Object.entries(WITH_CTRL).filter(([, entry]) => entry[1]).map(([key, entry]) => [key === "Z" ? "Ctrl+Shift+Z" : `Ctrl+${key.toUpperCase()}`, entry[1]]);
  $("help-rows").replaceChildren(helpGroup("Cases", rows("Cases")), helpGroup("View", rows("View")),
    helpGroup("Mask", rows("Mask")), helpGroup("Tools", [...rows("Tools"), ...ctrl]), helpGroup("Mouse", MOUSE));
  document.addEventListener("keydown", press);
  $("help-open").onclick = openHelp;
}
