// Starts the page: what the server offers, its cases and jobs, then each part.

import * as api from "./api.js";
import { initCases, step } from "./cases.js";
import { $, say, show } from "./dom.js";
import { pollSoon } from "./jobs.js";
import { initKeys } from "./keys.js";
import { initOpen, openCase, refreshCase, wantedCase } from "./open.js";
import { initPaint } from "./paint.js";
import { initPanel } from "./panel.js";
import { initReview } from "./review.js";
import { initSolid } from "./solid.js";
import { on, set, state } from "./state.js";
import { initTabs, initTheme } from "./chrome.js";
import { initTools } from "./tools.js";
import { initUpload, showAgain } from "./upload.js";
import { initView } from "./view.js";

function initParts() {
  initTheme();
  initTabs();
  initOpen();
  initCases();
  initPanel();
  initView();
  initTools();
  initPaint();
  initReview();
  initKeys();
  initSolid();
  on(["current"], showAgain);
  on(["saved"], () => Promise.all([api.cases().then((cases) => set({ cases })), refreshCase()]));
}

async function start() {
  initParts();
  try {
    const [server, cases] = await Promise.all([api.state(), api.cases()]);
    set({ server, cases });
  } catch (error) {
    say($("stage-error"), error.message);
    document.body.dataset.failed = "";
    return;
  }
  $("folder").textContent = state.server.folder ?? "";
  show($("logout"), Boolean(state.server.login));
  $("logout").onclick = () => api.logout().finally(() => location.reload());
  initUpload();
  pollSoon();
  const wanted = wantedCase();
  if (state.cases.some(({ id }) => id === wanted)) await openCase(wanted);
  else if (state.cases.length) step(0);
  else {
    document.body.dataset.ready = "";
    set({ tab: "cases" });
  }
}

start();
