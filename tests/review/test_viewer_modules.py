"""What the page's modules do that no picture shows: strokes, verdicts, uploads, looks at the queue."""

from __future__ import annotations

from pathlib import Path

import pytest
from node_parts import run

STROKE = """
const { set } = await import("./state.js");
const { volumePlanes } = await import("./grid.js");
const { beginStroke, strokeTo, endStroke } = await import("./paint.js");
const [shape, spacing] = [[40, 4, 50], [0.7, 0.7, 5]];
const affine = [[-0.7, 0, 0, 0], [0, -0.7, 0, 0], [0, 0, 5, 0]];
const study = { shape, spacing, affine, kind: "volume", data: new Uint8Array(40 * 4 * 50), masks: {}, labels: [] };
study.planes = volumePlanes(study);
set({ study, brush: BRUSH, tool: "paint", paintLabel: 1 });
const pane = { plane: study.planes.coronal, slice: 2 };
beginStroke(pane, [20, 5]);
strokeTo(pane, [20, 45]); // in one go
endStroke();
const { base, step } = pane.plane;
page.tell([...Array(50).keys()].map((v) => study.masks.correction[base + 20 * step[0] + v * step[1] + 2 * step[2]]));
"""


@pytest.mark.parametrize(("brush", "reach"), [(9, 0), (20, 1), (60, 4)])
def test_a_quick_stroke_across_thick_slices_leaves_no_gaps(tmp_path: Path, brush: int, reach: int):
    """Of 5 mm slices with pixels of 0.7 mm a brush of 60 reaches 21 mm, which is 4 slices, to either side."""
    rows = run(tmp_path, STROKE.replace("BRUSH", str(brush)))
    assert [v for v, value in enumerate(rows) if value] == list(range(5 - reach, 45 + reach + 1))


VERDICT = """
const told = [];
let status = null;
const answer = (value) => new Response(JSON.stringify(value));
const one = () => ({ id: "a", name: "a", review: { status } });
globalThis.fetch = async (path, { method, body } = {}) => {
  if (method === "PUT") told.push((status = JSON.parse(body).status));
  return answer(path === "/api/cases" ? [one()] : one());
};
const { state } = await import("./state.js");
const { initKeys } = await import("./keys.js");
initKeys();
document.getElementById("reviewer").value = "me";
Object.assign(state, { cases: [one()], current: one(), selected: "a" });
const press = (key, repeat) => page.listeners.keydown({ key, repeat, target: page.node(), preventDefault() {} });
for (const repeat of [false, true, true]) press("a", repeat);
await page.settled();
for (const repeat of [false, true]) press("x", repeat);
await page.settled();
page.tell(told);
"""


def test_a_key_that_is_held_down_gives_its_verdict_once(tmp_path: Path):
    assert run(tmp_path, VERDICT) == ["accepted", "rejected"]


REPLACED = """
globalThis.XMLHttpRequest = class {
  upload = {};
  open() {}
  setRequestHeader() {}
  send() {}
  abort() { this.onabort(); }
};
const { state } = await import("./state.js");
const { take } = await import("./upload.js");
state.server = { bundles: [] };
for (const name of ["first.nii", "second.nii"]) {
  take([{ file: Object.assign(new Blob(["x"]), { name }), path: name }]);
  await page.settled();
}
const { upload, drop } = page.nodes;
page.tell([page.nodes["upload-name"].textContent, upload.hidden, drop.hidden]);
"""


def test_an_upload_that_takes_the_place_of_another_stays_in_sight(tmp_path: Path):
    assert run(tmp_path, REPLACED) == ["second.nii", False, True]


SENT = """
globalThis.history = { replaceState() {} };
globalThis.fetch = async () => new Response("[]");
const answer = { upload: "u", kind: "volume", name: "brain", modality: MODALITY, cases: [{ id: "a" }], refused: [] };
globalThis.XMLHttpRequest = class {
  upload = {};
  status = 201;
  responseText = JSON.stringify(answer);
  open() {}
  setRequestHeader() {}
  send() { this.onload(); }
};
const { state } = await import("./state.js");
const { take } = await import("./upload.js");
const bundles = [["ct_lung", "CT", 3], ["cxr", "CR", 2], ["mr_hippocampus", "MR", 3]];
state.server = { bundles: bundles.map(([name, modality, dims]) => ({ name, modality, dims })) };
take([{ file: new Blob(["x"]), path: "brain.nii" }]);
await page.settled();
page.tell(page.nodes["upload-bundle"].children.map(({ value }) => value));
"""


@pytest.mark.parametrize(
    ("modality", "offered"),
    [
        ('"MR"', ["mr_hippocampus"]),
        ('"PT"', ["ct_lung", "mr_hippocampus"]),
        ("null", ["ct_lung", "mr_hippocampus"]),
    ],
    ids=["known", "of no bundle", "unknown"],
)
def test_bundles_of_an_uploads_modality_are_offered(tmp_path: Path, modality: str, offered: list[str]):
    assert run(tmp_path, SENT.replace("MODALITY", modality)) == offered


OFFERED = """
const { state } = await import("./state.js");
const { showAgain } = await import("./upload.js");
const offered = () => {
  showAgain();
  return page.nodes["again-bundle"].children;
};
state.server = { bundles: [{ name: "ct_lung", dims: 3 }, { name: "cxr", dims: 2 }], may_segment: true };
state.current = { id: "a", kind: "volume", review: {} };
const first = offered();
state.current = { id: "a", kind: "volume", review: { status: "accepted" } };
const same = offered() === first;
state.current = { id: "b", kind: "picture", review: {} };
page.tell([same, first.map(({ value }) => value), offered().map(({ value }) => value)]);
"""


def test_the_bundle_that_was_chosen_stays_chosen_when_a_verdict_is_given(tmp_path: Path):
    assert run(tmp_path, OFFERED) == [True, ["ct_lung"], ["cxr"]]


FAILED = """
globalThis.history = { replaceState() {} };
globalThis.fetch = async () => new Response('{"error": "the file is damaged"}', { status: 422 });
const { initOpen, openCase } = await import("./open.js");
initOpen();
await openCase("a");
page.tell([page.nodes["stage-error"].textContent, page.nodes["stage-error"].hidden, page.nodes.welcome.hidden]);
"""


def test_a_case_that_cannot_be_opened_tells_so_and_not_that_none_is_open(tmp_path: Path):
    assert run(tmp_path, FAILED) == ["the file is damaged", False, True]


EMPTY = """
const { presetsOf } = await import("./windows.js");
const data = new Int16Array(1_000_000); // a sample of every fifth does not meet the one voxel
data[777] = 500;
page.tell(presetsOf({}, { data, slope: 1, intercept: 0, labels: [] }).presets);
"""


def test_what_is_in_a_nearly_empty_image_can_be_seen(tmp_path: Path):
    assert run(tmp_path, EMPTY) == [{"name": name, "level": 250, "width": 500} for name in ("auto", "full")]


LOOKS = """
const answers = [];
globalThis.fetch = () => new Promise((come) => answers.push(() => come(new Response("[]"))));
const { pollSoon } = await import("./jobs.js");
const later = new Map();
let last = 0;
const wait = globalThis.setTimeout;
globalThis.setTimeout = (react) => later.set((last += 1), react) && last;
globalThis.clearTimeout = (one) => later.delete(one);
for (let click = 0; click < 3; click++) pollSoon();
answers.forEach((come) => come());
await new Promise((done) => wait(done, 20));
page.tell(later.size);
"""


def test_looks_at_the_queue_do_not_grow_in_number(tmp_path: Path):
    """Segment, pressed while a look is on its way, began another row of looks that never ended."""
    assert run(tmp_path, LOOKS) == 1


ZOOMED = """
const { state } = await import("./state.js");
const { picturePlane } = await import("./grid.js");
const { Pane } = await import("./pane.js");
const pane = new Pane(page.node(), "picture");
function shown(size) {
  const grid = { kind: "picture", shape: [size, size, 1], spacing: [1, 1, 1] };
  const voxels = { data: new Uint8Array(size * size), slope: 1, intercept: 0, masks: {}, hidden: new Uint8Array(256) };
  state.study = { ...grid, ...voxels, labels: [], planes: picturePlane(grid, null) };
  pane.draw();
  const { x, left } = pane.layout();
  return [left, left + size * x];
}
shown(400);
pane.zoomBy(4, [300, 300]);
page.tell([shown(400), shown(50)]);
"""


def test_a_smaller_image_is_not_opened_beyond_the_border_of_the_canvas(tmp_path: Path):
    """400 pixels on a canvas of 100, four times as large about (300, 300), run from -225 to 175; the next 50 fit."""
    assert run(tmp_path, ZOOMED) == [[-225, 175], [0, 100]]


RATIO = """
const { set } = await import("./state.js");
const { initPanel } = await import("./panel.js");
const labels = ["left lung", "right lung", "heart"].map((name, i) => ({ value: i + 1, name, colour: "#000000" }));
const whole = Uint8Array.from([1, 3, 3, 2]);
const study = { kind: "picture", shape: [4, 1, 1], labels, hidden: new Uint8Array(256), presets: [], distances: [] };
study.masks = { prediction: whole, correction: Uint8Array.from([1, 0, 3, 2]), truth: Uint8Array.from([1, 0, 0, 2]) };
initPanel();
set({ study, current: { id: "a", measurements: { cardiothoracic_ratio: 0.51 } } });
const text = (node) => (typeof node === "object" ? (node.children ?? []).map(text).join("") : String(node));
page.tell(["prediction", "difference", "correction", "truth"].map((layer) => {
  set({ layer });
  return text(page.nodes.measures).match(/\\d\\.\\d\\d/)?.[0] ?? null;
}));
"""


def test_a_mask_without_a_heart_shows_no_ratio_of_another(tmp_path: Path):
    """The server's 0.51 is the prediction's; one of four columns is 0.25; the truth has no heart."""
    assert run(tmp_path, RATIO) == ["0.51", "0.51", "0.25", None]
