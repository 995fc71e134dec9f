// Accept or reject a case, with a comment and a name.

import * as api from "./api.js";
import { $, say } from "./dom.js";
import { refreshCase } from "./open.js";
import { on, set, state } from "./state.js";

const NAME = "medseg-reviewer";

/** Sends the verdict ("accepted", "rejected" or null) of the open case; pressed again it is taken back. */
export async function judge(status) {
  const { current } = state;
  if (!current) return;
  const by = $("reviewer").value.trim();
  if (!by) {
    say($("review-note"), "Say who you are first: the name is kept with the verdict.");
    $("reviewer").focus();
    return;
  }
  const next = status && current.review?.status === status ? null : status;
  try {
    await api.review(current.id, { status: next, comment: $("comment").value, by });
    const [cases] = await Promise.all([api.cases(), refreshCase()]);
    set({ cases });
  } catch (error) {
    say($("review-note"), error.message);
  }
}

async function keepComment() {
  const { current } = state;
  if (!current || $("comment").value === (current.review?.comment ?? "") || !$("reviewer").value.trim()) return;
  const status = current.review?.status ?? null;
  try {
    await api.review(current.id, { status, comment: $("comment").value, by: $("reviewer").value.trim() });
    const cases = await api.cases();
    if (state.current?.id === current.id) await refreshCase();
    set({ cases });
  } catch (error) {
    say($("review-note"), error.message);
  }
}

function show() {
  const { current } = state;
  const review = current?.review ?? {};
  if (document.activeElement !== $("comment")) $("comment").value = review.comment ?? "";
  for (const [id, status] of [["accept", "accepted"], ["reject", "rejected"]]) {
    $(id).setAttribute("aria-pressed", String(review.status === status));
    $(id).disabled = !current;
  }
  $("clear-review").disabled = !review.status;
  const when = review.when ? `, ${review.when.slice(0, 16).replace("T", " ")}` : "";
  say($("review-note"), review.by ? `${review.status ?? "Comment"} by ${review.by}${when}` : "");
}

export function initReview() {
  $("reviewer").value = localStorage.getItem(NAME) ?? "";
  $("reviewer").onchange = () => localStorage.setItem(NAME, $("reviewer").value.trim());
  $("accept").onclick = () => judge("accepted");
  $("reject").onclick = () => judge("rejected");
  $("clear-review").onclick = () => judge(null);
  $("comment").onchange = keepComment;
  on(["current"], show);
  on(["cases"], () => {
    const entry = state.cases.find(({ id }) => id === state.current?.id);
    if (entry && JSON.stringify(entry.review) !== JSON.stringify(state.current.review)) {
      set({ current: { ...state.current, review: entry.review } });
    }
  });
  show();
}
