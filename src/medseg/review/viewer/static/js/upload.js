// The way of a new image: chosen or dropped, sent, a bundle picked, Segment pressed.

import * as api from "./api.js";
import { reloadCases } from "./cases.js";
import { $, el, say, show } from "./dom.js";
import { chosenFiles, listenForDrops } from "./drop.js";
import { follow, pollSoon } from "./jobs.js";
import { openCase } from "./open.js";
import { set, state } from "./state.js";

const KEPT = "medseg-upload"; // survives a reload of the page
let sending = null;
let offered = null; // the open case, once bundles are offered for it

const fail = (error) => {
  if (error.name !== "AbortError") say($("upload-error"), error.message);
};

function panel(open) {
  show($("drop"), !open);
  show($("upload"), open);
}

/** Bundles that take an image of this kind, as options: of its modality, where there are some. */
export function bundleOptions(kind, modality) {
  const dims = kind === "picture" ? 2 : kind === "volume" ? 3 : null;
  const { bundles } = state.server;
  const sized = bundles.filter((bundle) => !dims || bundle.dims === dims);
  const fitting = sized.filter((bundle) => !modality || !bundle.modality || same(bundle.modality, modality));
  return [fitting, sized, bundles].find((some) => some.length || some === bundles).map(({ name, title, modality: of }) =>
    el("option", { value: name, title: title ?? "", selected: name === state.server.bundle }, `${name}${of ? ` (${of})` : ""}`));
}

const XRAY = ["DX", "CR", "RG", "XR"];
const same = (a, b) => a === b || (XRAY.includes(a) && XRAY.includes(b));

export async function take(files) {
  say($("upload-error"), "");
  if (!files.length) return say($("upload-error"), "Nothing was in it. Drop a NIfTI file, a DICOM folder, a zip or a PNG.");
  const megabytes = files.reduce((sum, { file }) => sum + file.size, 0) / 1e6;
  const limit = state.server.limits?.upload_mb;
  if (limit && megabytes > limit) {
    return say($("upload-error"), `${Math.round(megabytes)} MB are more than the ${limit} MB that this server takes.`);
  }
  const name = files.length === 1 ? files[0].file.name : `${files[0].path.split("/")[0]} (${files.length} files)`;
  return send(files, name);
}

async function send(files, name) {
  sending?.abort();
  const mine = (sending = new AbortController());
  panel(true);
  $("upload-name").textContent = name;
  $("upload-about").textContent = "Sending...";
  $("upload-start").disabled = true;
  $("upload-bundle").replaceChildren(...bundleOptions());
  const bar = $("upload-progress");
  Object.assign(bar, { value: 0, hidden: false });
  try {
    const answer = await api.upload(files, (done, total) => (bar.value = total ? (100 * done) / total : 0), mine.signal);
    sessionStorage.setItem(KEPT, JSON.stringify(answer));
    sent(answer);
    say($("upload-error"), (answer.refused ?? []).join("\n"));
    await reloadCases();
    openCase(answer.cases[0].id);
  } catch (error) {
    if (mine === sending) panel(false); // else the next upload is on its way
    fail(error);
  }
}

function sent(answer) {
  panel(true);
  $("upload-progress").hidden = true;
  const more = answer.cases.length - 1;
  $("upload-name").textContent = `${answer.name}${more ? ` and ${more} more` : ""}`;
  $("upload-bundle").replaceChildren(...bundleOptions(answer.kind, answer.modality));
  $("upload-about").textContent = "Received. Pick a bundle and press Segment.";
  $("upload-start").disabled = false;
  $("upload").dataset.upload = answer.upload;
}

function forget() {
  sending?.abort();
  sessionStorage.removeItem(KEPT);
  say($("upload-error"), "");
  panel(false);
}

async function start() {
  $("upload-start").disabled = true;
  try {
    const { case: made } = await api.startJob({ upload: $("upload").dataset.upload, bundle: $("upload-bundle").value });
    follow(made);
    forget();
  } catch (error) {
    $("upload-start").disabled = false;
    fail(error);
  }
  pollSoon();
}

/** Segments the open case again. */
async function again() {
  $("again-start").disabled = true;
  try {
    const { case: made } = await api.startJob({ case: state.current.id, bundle: $("again-bundle").value });
    follow(made);
  } catch (error) {
    fail(error);
  }
  $("again-start").disabled = false;
  pollSoon();
}

export function showAgain() {
  const { current } = state;
  show($("again"), Boolean(current && state.server?.may_segment));
  if (current && current.id !== offered) $("again-bundle").replaceChildren(...bundleOptions(current.kind, current.modality));
  offered = current?.id ?? null; // its record is read again after each verdict: what was chosen stays chosen
}

export function initUpload() {
  if (!state.server.may_segment) return show($("segment"), false);
  $("choose-files").onclick = () => $("input-files").click();
  $("choose-folder").onclick = () => $("input-folder").click();
  for (const id of ["input-files", "input-folder"]) {
    $(id).onchange = () => {
      take(chosenFiles($(id)));
      $(id).value = "";
    };
  }
  $("upload-drop").onclick = forget;
  $("upload-start").onclick = start;
  $("again-start").onclick = again;
  listenForDrops($("dropping"), (files) => {
    set({ tab: "cases" });
    take(files);
  }, fail);
  const kept = sessionStorage.getItem(KEPT);
  if (kept) sent(JSON.parse(kept));
  return undefined;
}
