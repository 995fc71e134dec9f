"""The viewer's page in Chromium: what a reader does: segment, correct, review, export; also two at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser_parts as parts
import nibabel
import numpy as np
import pytest

from medseg.case import Image
from medseg.dicom import write_series


@pytest.fixture(scope="module")
def browser() -> Any:
    with parts.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("work")
    parts.add_volume(root, "one")
    parts.add_volume(root, "two", "RSA")
    return root


@pytest.fixture
def site(cases: Path, tmp_path: Path) -> Iterator[parts.Site]:
    shutil.copytree(cases, tmp_path, dirs_exist_ok=True)
    with parts.serving(tmp_path) as found:
        yield found


@pytest.fixture
def page(browser: Any, site: parts.Site) -> Any:
    with parts.window(browser, site) as found:
        yield found


def new_image(folder: Path, name: str) -> Path:
    """A CT above 0 in the right lung's place alone."""
    path = folder / f"{name}.nii"
    values = np.where(parts.label_map() == parts.RIGHT, 50, -800).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, parts.AFFINE), path)
    return path


def drop(page: Any, paths: list[Path]) -> None:
    """Drops files in the middle of the page, as a mouse would."""
    files = [{"name": path.name, "bytes": list(path.read_bytes())} for path in paths]
    page.evaluate(
        """files => {
          const carried = new DataTransfer();
          for (const { name, bytes } of files) carried.items.add(new File([new Uint8Array(bytes)], name));
          for (const kind of ["dragenter", "dragover", "drop"]) {
            document.querySelector("#panes").dispatchEvent(
              new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
          }
        }""",
        files,
    )


def drop_folder(page: Any, folder: Path) -> None:
    """Drops a folder from the desktop: through Chromium's own protocol, as a page cannot make one."""
    carried = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    desktop = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        desktop.send("Input.dispatchDragEvent", {"type": kind, "x": 640, "y": 400, "data": carried})


def segment(page: Any, path: Path) -> None:
    drop(page, [path])
    page.wait_for_selector("#upload-start:enabled")
    page.select_option("#upload-bundle", "ct_lung")
    page.click("#upload-start")


def stroke(page: Any, plane: str, *points: tuple[int, int]) -> None:
    """One stroke of the mouse through the centres of voxels (right, down)."""
    page.mouse.move(*parts.spot(page, plane, points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*parts.spot(page, plane, point))
    page.mouse.up()


def brush(page: Any, size: int, label: str) -> None:
    page.keyboard.press("b")
    page.locator("#brush").fill(str(size))
    page.select_option("#paint-label", label=label)


def save(page: Any, by: str, version: int) -> None:
    page.fill("#reviewer", by)
    page.click("#save")
    page.wait_for_selector(f"#save-note:has-text('Saved as version {version} by {by}')")


def corrections(folder: Path, name: str) -> list[Path]:
    return sorted((folder / "corrections").glob(f"{name}_v*.nii.gz"))


def as_lps(path: Path) -> np.ndarray:
    """The voxels of a file along the axes of `label_map`, by nibabel."""
    image = nibabel.load(path)
    back = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.io_orientation(parts.AFFINE)
    )
    return np.asarray(image.as_reoriented(back).dataobj)


def test_drag_segment_look(page: Any, site: parts.Site, tmp_path: Path):
    site.go.touch()
    segment(page, new_image(tmp_path, "dropped"))
    page.wait_for_selector(".job.done")
    page.wait_for_selector("#labels tr[data-value='1'] td:text('25.9')")  # 12 x 20 x 12 voxels of 9 mm3
    assert page.locator("#case-title").inner_text() == "dropped"
    parts.solid_masks(page)
    assert len(parts.where(parts.pixels(page, "axial"), parts.COLOURS[1])) > 1000
    with page.expect_download() as download:
        page.click("#download")
    mask = tmp_path / "mask.nii.gz"
    download.value.save_as(mask)
    np.testing.assert_array_equal(as_lps(mask), parts.label_map() == parts.RIGHT)


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_a_dicom_folder_is_taken_as_one_image(page: Any, tmp_path: Path, way: str):
    write_series(Image(parts.grey_values(), parts.AFFINE, Path("made"), "CT"), tmp_path / "series", seed=1)
    if way == "chosen":
        page.set_input_files("#input-folder", tmp_path / "series")
    else:
        drop_folder(page, tmp_path / "series")
    page.wait_for_selector("#upload-start:enabled")
    page.wait_for_selector("#case-about:has-text('1.5 × 1.5 × 4 mm')")  # noqa: RUF001
    assert page.locator("#upload-bundle").input_value() == "ct_lung"


def test_what_cannot_be_read_is_told(browser: Any, site: parts.Site, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no image")
    with parts.window(browser, site, refused=1) as page:
        drop(page, [tmp_path / "notes.txt"])
        page.wait_for_selector("#upload-error:visible")
        assert "image" in page.locator("#upload-error").inner_text()
        assert page.locator("#drop").is_visible()


def test_jobs_wait_are_cancelled_and_survive_a_reload(page: Any, site: parts.Site, tmp_path: Path):
    segment(page, new_image(tmp_path, "first"))
    page.wait_for_selector(".job.running")
    segment(page, new_image(tmp_path, "second"))
    page.wait_for_selector(".job.waiting:has-text('1 before it')")
    page.reload()
    page.wait_for_selector(".job.running:has-text('first')")
    page.click(".job.waiting button:text('Cancel')")
    page.wait_for_selector(".job.cancelled:has-text('second')")
    site.go.touch()
    page.wait_for_selector(".job.done:has-text('first')")
    page.click(".job.done button:text('Open')")
    page.wait_for_selector("#labels tr[data-value='1'] td:text('25.9')")


def test_a_failed_job_tells_why(page: Any, site: parts.Site, tmp_path: Path):
    site.go.touch()
    segment(page, new_image(tmp_path, "bad"))
    page.wait_for_selector(".job.failed")
    assert "the image holds nothing to segment" in page.locator(".job.failed .error").inner_text()


@pytest.mark.parametrize("name", ["one", "two"], ids=["stored to LPS", "stored to RSA"])
def test_what_is_painted_is_what_is_on_the_disk(page: Any, site: parts.Site, name: str):
    parts.open_case(page, name)
    z = parts.SIZE[2] - parts.slice_number(page, "axial")  # slices are counted from the head
    brush(page, 1, "left lung")
    stroke(page, "axial", (22, 5), (26, 5))
    brush(page, 5, "right lung")
    stroke(page, "axial", (4, 34))
    page.keyboard.press("e")
    page.locator("#brush").fill("1")
    stroke(page, "axial", (10, 15))
    stroke(page, "axial", (11, 20))
    page.keyboard.press("Control+z")  # takes back the last one
    save(page, "Dr Ada Löwe", 1)

    expected = parts.label_map()
    expected[22:27, 5, z] = parts.LEFT
    for x in range(parts.SIZE[0]):
        for y in range(parts.SIZE[1]):
            if (x - 4) ** 2 + (y - 34) ** 2 <= 2.5**2:
                expected[x, y, z] = parts.RIGHT
    expected[10, 15, z] = 0
    (saved,) = corrections(site.folder, name)
    np.testing.assert_array_equal(as_lps(saved), expected)
    assert nibabel.load(saved).header.get_zooms() == nibabel.load(site.folder / f"{name}.nii.gz").header.get_zooms()
    np.testing.assert_array_equal(as_lps(site.folder / f"{name}.nii.gz"), parts.label_map())  # the prediction stays
    (record,) = parts.read_json(site.folder / "corrections" / f"{name}.json")["versions"]
    assert record["by"] == "Dr Ada Löwe"
    assert record["when"].startswith("20")
    assert record["changed_voxels"] == int((expected != parts.label_map()).sum())


def test_a_ball_paints_through_slices_and_redo_brings_it_back(page: Any, site: parts.Site):
    parts.open_case(page, "one")
    z = parts.SIZE[2] - parts.slice_number(page, "axial")
    brush(page, 7, "left lung")
    page.check("#ball")
    stroke(page, "axial", (24, 34))
    page.click("#undo")
    assert page.locator("#save").is_disabled()
    page.click("#redo")
    save(page, "B", 1)
    x, y, k = np.indices(parts.SIZE)
    ball = ((x - 24) * 1.5) ** 2 + ((y - 34) * 1.5) ** 2 + ((k - z) * 4.0) ** 2 <= (3.5 * 1.5) ** 2
    (saved,) = corrections(site.folder, "one")
    np.testing.assert_array_equal(as_lps(saved), np.where(ball, parts.LEFT, parts.label_map()))


def test_strokes_that_are_not_saved_are_not_lost_unasked(page: Any):
    parts.open_case(page, "one")
    brush(page, 3, "left lung")
    stroke(page, "axial", (24, 34))
    page.keyboard.press("n")
    assert "not saved" in page.locator(".ask").inner_text()
    page.click(".ask button:text('Stay')")
    assert page.locator("#case-title").inner_text() == "one"
    page.keyboard.press("n")
    page.click(".ask button:text('Discard')")
    page.wait_for_selector("#case-title:text('two')")


def test_a_verdict_needs_a_name_and_is_exported(page: Any, site: parts.Site, tmp_path: Path):
    parts.open_case(page, "one")
    page.keyboard.press("a")
    assert "Say who you are" in page.locator("#review-note").inner_text()
    page.fill("#comment", "apex is missing")
    parts.open_case(page, "two")
    assert page.locator("#comment").input_value() == ""
    parts.open_case(page, "one")
    assert page.locator("#comment").input_value() == "apex is missing"  # it waits for a name
    page.fill("#reviewer", "Dr B")
    page.keyboard.press("Escape")
    page.wait_for_selector("#review-note:has-text('Comment by Dr B')")
    page.keyboard.press("a")
    page.wait_for_selector("#accept[aria-pressed=true]")
    assert page.locator("#review-note").inner_text().startswith("accepted by Dr B")
    page.wait_for_selector("#export:text('Export accepted cases (1)')")
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(tmp_path / "datalist.json")
    datalist = parts.read_json(tmp_path / "datalist.json")
    items = [item for section in ("training", "validation", "test") for item in datalist.get(section, [])]
    assert [item["id"] for item in items] == ["one"]
    assert items[0]["review"]["comment"] == "apex is missing"


def test_a_slow_line_mixes_up_no_cases_and_loses_no_strokes(page: Any, site: parts.Site):
    """What is done before an answer has come."""
    page.evaluate(
        """() => {
          const [soon, late] = [window.fetch, () => new Promise((done) => setTimeout(done, 150))];
          window.fetch = async (url, options) => {
            if (options?.method === "PUT" || String(url).includes("image.nii")) await late();
            return soon(url, options);
          };
        }"""
    )
    page.fill("#reviewer", "Dr B")
    parts.open_case(page, "one")
    page.fill("#comment", "apex is missing")
    page.click("#reject")  # leaves the comment, which is sent first
    parts.open_case(page, "two")
    page.wait_for_selector("#cases .verdict.rejected")
    page.locator(".case", has=page.locator("b:text-is('one')")).click()
    page.keyboard.press("x")  # "two" is still there: neither it nor "one", whose verdict it would take back, is meant
    page.wait_for_selector("#case-title:text('one')")
    said = parts.read_json(site.folder / "review.json")["cases"]
    assert {name: (one["status"], one["comment"]) for name, one in said.items()} == {
        "one": ("rejected", "apex is missing")
    }
    brush(page, 1, "left lung")
    stroke(page, "axial", (22, 5))
    page.keyboard.press("Control+s")
    stroke(page, "axial", (24, 5))
    page.wait_for_selector("#save-note:has-text('Saved as version 1')")
    page.keyboard.press("n")
    page.click(".ask button:text('Save')")  # the second stroke is in no file yet
    page.wait_for_selector("#case-title:text('two')")
    painted = [int((as_lps(path) != parts.label_map()).sum()) for path in corrections(site.folder, "one")]
    assert painted == [1, 2]


def test_two_browsers_at_once(browser: Any, site: parts.Site):
    with parts.window(browser, site) as ann, parts.window(browser, site) as bob:
        for page, y in ((ann, 34), (bob, 36)):
            parts.open_case(page, "one")
            brush(page, 1, "left lung")
            stroke(page, "axial", (24, y))
        save(ann, "Ann", 1)
        save(bob, "Bob", 2)
        assert "both are kept" in bob.locator("#save-note").inner_text()
        ann.click("#reject")
        ann.wait_for_selector("#reject[aria-pressed=true]")
        bob.evaluate("window.dispatchEvent(new Event('focus'))")
        bob.wait_for_selector("#reject[aria-pressed=true]")
        assert "rejected by Ann" in bob.locator("#review-note").inner_text()
    kept = [as_lps(path) for path in corrections(site.folder, "one")]
    changed = sorted(tuple(np.argwhere(labels != parts.label_map())[0][:2]) for labels in kept)
    assert changed == [(24, 34), (24, 36)]
