// The page's frame: light or dark, and the tabs of a narrow screen.

import { $ } from "./dom.js";
import { on, set, state } from "./state.js";

const THEME = "medseg-theme";

export function initTheme() {
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    $("theme").textContent = theme === "dark" ? "Light" : "Dark";
    $("theme").setAttribute("aria-label", `Use the ${theme === "dark" ? "light" : "dark"} theme`);
  };
  apply(localStorage.getItem(THEME) === "light" ? "light" : "dark");
  $("theme").onclick = () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem(THEME, next);
    apply(next);
  };
}

/** On a phone one of cases, image and tools is shown. */
export function initTabs() {
  const buttons = [...document.querySelectorAll(".tabs button")];
  buttons.forEach((button) => (button.onclick = () => set({ tab: button.dataset.tab })));
  on(["tab"], () => {
    document.body.dataset.tab = state.tab;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.tab === state.tab)));
  });
  on(["selected"], () => set({ tab: "stage" }));
  on(["tool"], () => set({ tab: "stage" }));
  set({ tab: "stage" });
}
