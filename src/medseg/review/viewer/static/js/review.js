// Accept or reject a case, with a comment and a name.

import * as api from "./api.js";
import { $, say } from "./dom.js";
import { refreshCase } from "./open.js";
import { on, set, state } from "./state.js";

const NAME = "medseg-reviewer";

let last = Promise.resolve();

/** One change after the other: a comment that is left by pressing Accept must not overtake the verdict. */
function inTurn(work) {
  last = last.then(work).catch((error) => say($("review-note"), error.message));
  return last;
}

/** Sends a review of a case, then reads what all say now. */
async function send(id, review) {
  await api.review(id, review);
  const cases = await api.cases();
  if (state.current?.id === id) await refreshCase();
  set({ cases });
}

/** Sends the verdict ("accepted", "rejected" or null) of the open case; pressed again it is taken back. */
export function judge(status) {
  return inTurn(async () => {
    const { current } = state;
    const by = $("reviewer").value.trim();
    if (current && !by) {
      say($("review-note"), "Say who you are first: the name is kept with the verdict.");
      $("reviewer").focus();
    } else if (current) {
      const next = status && current.review?.status === status ? null : status;
      await send(current.id, { status: next, comment: $("comment").value, by });
    }
  });
}

function keepComment() {
  const { current } = state;
  const [comment, by] = [$("comment").value, $("reviewer").value.trim()];
  if (!current || !by) return;
  inTurn(async () => {
    const review = state.cases.find(({ id }) => id === current.id)?.review;
    if (comment !== (review?.comment ?? "")) await send(current.id, { status: review?.status ?? null, comment, by });
  });
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
