// Accept or reject a case, with a comment and a name.

import * as api from "./api.js";
import { $, say } from "./dom.js";
import { refreshCase } from "./open.js";
import { on, set, state } from "./state.js";

const NAME = "medseg-reviewer";
const NAMELESS = "Say who you are first: the name is kept with verdict and comment.";

let last = Promise.resolve();
let commentOf = null; // id of the case that the comment box is about
const drafts = new Map(); // comments that wait for a name, by case

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

const reviewer = () => $("reviewer").value.trim();
const reviewOf = (id) => state.cases.find((entry) => entry.id === id)?.review ?? {};

/**
 * Sends the verdict ("accepted", "rejected" or null) of the open case; pressed again it is taken back.
 * What it is about is looked up now, not when its turn comes: another case may be open by then.
 */
export function judge(status) {
  const [{ current, selected }, comment, by] = [state, $("comment").value, reviewer()];
  if (!current) return undefined;
  if (current.id !== selected) return say($("review-note"), "Another case is being opened: judge it once it is there.");
  if (!by) {
    say($("review-note"), NAMELESS);
    return $("reviewer").focus();
  }
  drafts.delete(current.id);
  const version = state.study?.id === current.id ? state.study.version : null; // of the mask that is looked at
  return inTurn(() => {
    const taken = status && reviewOf(current.id).status === status;
    return send(current.id, { status: taken ? null : status, comment, by, version });
  });
}

/** Sends what was written of a case; without a name it waits for one. */
function keep(id, comment) {
  const by = reviewer();
  drafts.delete(id);
  if (!by && comment !== (reviewOf(id).comment ?? "")) {
    drafts.set(id, comment);
    say($("review-note"), NAMELESS);
  }
  if (!by) return;
  inTurn(async () => {
    const { status = null, comment: before = "" } = reviewOf(id);
    if (comment !== before) await send(id, { status, comment, by });
  });
}

function keepComment() {
  if (commentOf !== null) keep(commentOf, $("comment").value);
}

function keepName() {
  localStorage.setItem(NAME, reviewer());
  if (reviewer()) drafts.forEach((comment, id) => keep(id, comment));
}

function showComment(id, comment) {
  if (id === commentOf && document.activeElement === $("comment")) return;
  if (id !== commentOf) keepComment();
  commentOf = id;
  $("comment").value = drafts.get(id) ?? comment ?? "";
}

function show() {
  const { current } = state;
  const review = current?.review ?? {};
  showComment(current?.id ?? null, review.comment);
  for (const [id, status] of [["accept", "accepted"], ["reject", "rejected"]]) {
    $(id).setAttribute("aria-pressed", String(review.status === status));
    $(id).disabled = !current;
  }
  $("clear-review").disabled = !review.status;
  const when = review.when ? `, ${review.when.slice(0, 16).replace("T", " ")}` : "";
  const said = review.by ? `${review.status ?? "Comment"} by ${review.by}${when}` : "";
  say($("review-note"), drafts.has(commentOf) ? NAMELESS : said);
}

export function initReview() {
  $("reviewer").value = localStorage.getItem(NAME) ?? "";
  $("reviewer").onchange = keepName;
  $("accept").onclick = () => judge("accepted");
  $("reject").onclick = () => judge("rejected");
  $("clear-review").onclick = () => judge(null);
  $("comment").onchange = keepComment;
  window.addEventListener("beforeunload", (event) => {
    if (drafts.size) event.preventDefault();
  });
  on(["current"], show);
  on(["cases"], () => {
    const entry = state.cases.find(({ id }) => id === state.current?.id);
    if (entry && JSON.stringify(entry.review) !== JSON.stringify(state.current.review)) {
      set({ current: { ...state.current, review: entry.review } });
    }
  });
  show();
}
