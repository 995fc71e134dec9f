// The list of cases: search, filter, order, next and previous.

import * as api from "./api.js";
import { $, el, say } from "./dom.js";
import { openCase } from "./open.js";
import { on, set, state } from "./state.js";

const FILTERS = {
  all: () => true,
  flagged: (entry) => entry.flags?.length > 0,
  open: (entry) => !entry.review?.status,
  accepted: (entry) => entry.review?.status === "accepted",
  rejected: (entry) => entry.review?.status === "rejected",
  corrected: (entry) => entry.has_correction,
};
const LOOK_SECONDS = 15;
const byName = (a, b) => a.name.localeCompare(b.name, "en", { numeric: true });
const dice = (entry, without) => entry.mean_dice ?? without;
const ORDERS = {
  name: byName,
  flags: (a, b) => (b.flags?.length ?? 0) - (a.flags?.length ?? 0) || dice(a, 2) - dice(b, 2) || byName(a, b),
  worst: (a, b) => dice(a, 2) - dice(b, 2) || byName(a, b),
  best: (a, b) => dice(b, -1) - dice(a, -1) || byName(a, b),
  open: (a, b) => Boolean(a.review?.status) - Boolean(b.review?.status) || byName(a, b),
};

/** The cases as the list shows them now. */
export function listed() {
  const words = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const text = (entry) =>
    [entry.name, entry.id, entry.review?.comment, ...(entry.flags ?? []).map((flag) => `${flag.rule} ${flag.text}`)]
      .join(" ").toLowerCase();
  return state.cases
    .filter(FILTERS[$("filter").value])
    .filter((entry) => words.every((word) => text(entry).includes(word)))
    .sort(ORDERS[$("sort").value]);
}

/** Opens the next (+1) or previous (-1) case of the list. */
export function step(by) {
  const shown = listed();
  const at = shown.findIndex(({ id }) => id === state.selected);
  const next = shown[at < 0 ? 0 : at + by];
  if (next) openCase(next.id);
}

const MARKS = { accepted: ["✓", "accepted"], rejected: ["✕", "rejected"] };

function item(entry) {
  const { id, name, flags = [], review, has_truth, has_prediction, has_correction, source } = entry;
  const parts = [has_prediction && "prediction", has_truth && "truth", has_correction && "correction", source === "upload" && "upload"];
  const [sign, words] = MARKS[review?.status] ?? ["", "not reviewed"];
  const score = typeof entry.mean_dice === "number" ? entry.mean_dice : null;
  return el("li", {
    role: "option", id: `case-${CSS.escape(id)}`, className: "case", "aria-selected": String(id === state.selected),
    "data-id": id, onclick: () => openCase(id),
  },
    el("span", { className: `verdict ${review?.status ?? ""}`, title: words, "aria-label": words }, sign),
    el("span", { className: "grow clip" }, el("b", { className: "clip", title: name }, name),
      el("small", {}, parts.filter(Boolean).join(", ") || "image only")),
    flags.length ? el("span", { className: "flag", title: flags.map((flag) => flag.text ?? flag.rule).join("\n"),
      "aria-label": `${flags.length} flags` }, `⚑ ${flags.length}`) : null,
    score === null ? null : el("span", { className: "dice", title: "mean Dice" }, score.toFixed(3)));
}

function why() {
  if (!state.cases.length) {
    return "No cases in this folder yet. Drop a CT, MR or X-ray above and press Segment.";
  }
  return "No case fits. Clear the search or show all.";
}

export function drawList() {
  const shown = listed();
  $("cases").replaceChildren(...shown.map(item));
  $("cases-count").textContent = shown.length === state.cases.length ? `${shown.length}` : `${shown.length} of ${state.cases.length}`;
  say($("cases-empty"), shown.length ? "" : why());
  const accepted = state.cases.filter(FILTERS.accepted).length;
  const uploads = state.cases.some((entry) => entry.source === "upload" && FILTERS.accepted(entry));
  $("export").href = uploads ? "/api/export.zip" : "/api/export";
  $("export").textContent = `Export accepted cases (${accepted})`;
  $("export").title = uploads ? "A zip of images, labels and the datalist" : "A datalist (JSON) to train on";
  $("export").classList.toggle("off", accepted === 0);
  $("export").setAttribute("aria-disabled", String(accepted === 0));
}

function markSelected() {
  for (const node of $("cases").children) {
    const chosen = node.dataset.id === state.selected;
    node.setAttribute("aria-selected", String(chosen));
    if (!chosen) continue;
    node.scrollIntoView({ block: "nearest" });
    $("cases").setAttribute("aria-activedescendant", node.id);
  }
}

export async function reloadCases() {
  const cases = await api.cases();
  if (JSON.stringify(cases) !== JSON.stringify(state.cases)) set({ cases });
}

/** Others may review the same folder: their verdicts are looked up now and then, and when the window is returned to. */
function watchOthers() {
  const look = () => document.hidden || reloadCases().catch(() => {}); // the queue's poll tells what is wrong
  setInterval(look, LOOK_SECONDS * 1000);
  window.addEventListener("focus", look);
  document.addEventListener("visibilitychange", look);
}

export function initCases() {
  for (const id of ["search", "filter", "sort"]) $(id).addEventListener("input", drawList);
  $("export").addEventListener("click", (event) => {
    if ($("export").getAttribute("aria-disabled") === "true") event.preventDefault();
  });
  on(["cases"], drawList);
  watchOthers();
  on(["selected", "cases"], markSelected);
}
