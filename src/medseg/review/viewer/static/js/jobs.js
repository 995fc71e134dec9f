// The queue: what waits, runs and is done on the server; it is the server's, so a reload of the page shows it again.

import * as api from "./api.js";
import { reloadCases } from "./cases.js";
import { $, el, show } from "./dom.js";
import { openCase } from "./open.js";
import { set, state } from "./state.js";

const OPEN_WHEN_DONE = "medseg-follow"; // the case whose mask this window waits for
const STAGES = { start: "starting", load: "loading the network", read: "reading", network: "segmenting", write: "writing" };
const active = (job) => job.state === "waiting" || job.state === "running";
let known = new Map();
let timer = 0;

/** Opens this case once its job is done, also after a reload. */
export function follow(id) {
  sessionStorage.setItem(OPEN_WHEN_DONE, id);
}

function item(job) {
  const { name, bundle, done, total, stage, error, ahead } = job;
  const bar = el("progress", { "aria-label": `Progress of ${name}` });
  if (typeof total === "number" && total > 0) Object.assign(bar, { max: total, value: done ?? 0 });
  const queue = job.state === "waiting" && ahead ? `${ahead} before it` : "";
  const words = [bundle, job.state === "running" ? STAGES[stage] ?? "running" : job.state, queue].filter(Boolean).join(" · ");
  return el("li", { className: `job ${job.state}`, "data-job": String(job.job), "data-state": job.state },
    el("p", { className: "row" }, el("b", { className: "grow clip", title: name }, name), ...buttons(job)),
    el("small", {}, words),
    active(job) ? bar : null,
    error ? el("p", { className: "error" }, typeof error === "string" ? error : error.message ?? JSON.stringify(error)) : null);
}

function buttons(job) {
  const result = job.state === "done" && job.case
    ? [el("button", { type: "button", className: "small", onclick: () => openCase(job.case) }, "Open")] : [];
  const stop = active(job)
    ? [el("button", { type: "button", className: "small", "aria-label": `Cancel ${job.name}`, onclick: () => cancel(job) }, "Cancel")] : [];
  return [...result, ...stop];
}

async function cancel(job) {
  try {
    await api.cancelJob(job.job);
  } catch (error) {
    $("upload-error").textContent = error.message;
    show($("upload-error"), true);
  }
  pollSoon();
}

function draw(jobs) {
  show($("jobs-card"), jobs.length > 0);
  const order = [...jobs].sort((a, b) => active(b) - active(a));
  const key = JSON.stringify(order);
  if ($("jobs").dataset.key === key) return;
  $("jobs").dataset.key = key;
  $("jobs").replaceChildren(...order.map(item));
}

/** What follows from jobs that ended since the last look: new cases, and the case waited for is opened. */
async function settle(jobs) {
  const ended = jobs.filter((job) => job.state === "done" && known.get(job.job) !== "done");
  known = new Map(jobs.map((job) => [job.job, job.state]));
  if (!ended.length) return;
  const busy = state.unsaved || document.activeElement === $("comment"); // who paints or writes is not torn away
  await reloadCases();
  const wanted = ended.find((job) => job.case === sessionStorage.getItem(OPEN_WHEN_DONE));
  if (wanted) {
    sessionStorage.removeItem(OPEN_WHEN_DONE);
    if (busy) return;
    await openCase(wanted.case);
    set({ tab: "stage" });
  } else if (ended.some((job) => job.case === state.current?.id) && !busy) await openCase(state.current.id);
}

async function poll() {
  clearTimeout(timer);
  let wait = 5000;
  try {
    const jobs = await api.jobs();
    draw(jobs);
    await settle(jobs);
    if (jobs.some(active)) wait = 700;
  } catch (error) {
    if (error.status === 401 || error.status === 403) return;
  }
  clearTimeout(timer); // another look may have begun and ended meanwhile
  timer = setTimeout(poll, document.hidden ? 4 * wait : wait);
}

export function pollSoon() {
  poll();
}
