"""The viewer's page in Chromium: what a reader sees."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import browser_parts as parts
import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medseg.evaluation.cardiothoracic import cardiothoracic_ratio

ORDERS = ("LPS", "RAS", "SRP")


@pytest.fixture(scope="module")
def browser() -> Any:
    with parts.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("view")
    for codes in ORDERS:
        parts.add_volume(root, f"ct_{codes}", codes, flags=("three pieces",) if codes == "RAS" else ())
    parts.add_xray(root)
    (root / "results" / "scores.csv").write_text(
        "case,region,dice,empty\nct_LPS,left lung,0.9,none\nct_LPS,right lung,0.7,none\nct_SRP,left lung,0.95,none\n"
    )
    with parts.serving(root) as found:
        yield found


@pytest.fixture
def page(browser: Any, site: parts.Site) -> Any:
    with parts.window(browser, site) as found:
        yield found


def names(page: Any) -> list[str]:
    return page.locator("#cases .case b").all_text_contents()


def test_flagged_cases_come_first_and_the_first_one_is_opened(page: Any):
    assert names(page) == ["ct_RAS", "ct_LPS", "ct_SRP", "xray"]
    assert page.locator("#case-title").inner_text() == "ct_RAS"
    assert page.locator("#case-flags").inner_text() == "three pieces"
    assert page.locator("body").get_attribute("data-ready") == page.locator(".case").first.get_attribute("data-id")


def test_cases_are_searched_filtered_and_ordered(page: Any):
    page.select_option("#sort", "worst")
    assert names(page) == ["ct_LPS", "ct_SRP", "ct_RAS", "xray"]
    page.fill("#search", "pieces")
    assert names(page) == ["ct_RAS"]
    page.fill("#search", "nothing of this name")
    assert names(page) == []
    assert "Clear the search" in page.locator("#cases-empty").inner_text()
    page.fill("#search", "")
    page.select_option("#filter", "flagged")
    assert names(page) == ["ct_RAS"]


@pytest.mark.parametrize("codes", ORDERS)
def test_the_mask_covers_its_voxels_and_the_right_lung_is_on_the_left(page: Any, codes: str):
    parts.open_case(page, f"ct_{codes}")
    parts.solid_masks(page)
    for plane, seen in (("axial", (0, 1)), ("coronal", (0, 2))):
        picture = parts.pixels(page, plane)
        per_voxel = parts.scale_of(page, plane) ** 2 * parts.SPACING_MM[seen[0]] * parts.SPACING_MM[seen[1]]
        extent = {parts.RIGHT: (12, 20, 12), parts.LEFT: (10, 16, 12)}
        for label, colour in parts.COLOURS.items():
            found = parts.where(picture, colour)
            expected = extent[label][seen[0]] * extent[label][seen[1]] * per_voxel
            assert len(found) == pytest.approx(expected, rel=0.06)
            assert (found[:, 0].mean() < picture.shape[1] / 2) == (label == parts.RIGHT)
        assert "the patient's right is on the left" in page.locator(f"[data-plane={plane}] canvas").get_attribute(
            "aria-label"
        )


def test_slices_go_from_head_to_feet_front_to_back_right_to_left(page: Any):
    parts.open_case(page, "ct_LPS")
    parts.solid_masks(page)
    picture = parts.pixels(page, "sagittal")
    found = parts.where(picture, parts.COLOURS[parts.RIGHT])
    # the right lung spans rows 10 to 30 of 40 from the front, and slices 4 to 16 of 20 from below
    middle_mm = (found[:, 0].mean() - picture.shape[1] / 2) / parts.scale_of(page, "sagittal")
    assert middle_mm == pytest.approx((20 - 20) * 1.5, abs=0.8)
    page.locator("[data-plane=axial] canvas").focus()
    for _ in range(30):
        page.keyboard.press("ArrowUp")
    assert parts.slice_number(page, "axial") == 1
    assert len(parts.where(parts.pixels(page, "axial"), parts.COLOURS[parts.RIGHT])) == 0  # above the lungs
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    assert (
        len(parts.where(parts.pixels(page, "axial"), parts.COLOURS[parts.RIGHT])) > 100
    )  # slice 5 from above: index 15


def test_difference_has_its_colours_and_legend(page: Any):
    parts.open_case(page, "ct_LPS")
    parts.solid_masks(page)
    page.click("#layers [data-value=difference]")
    assert page.locator("#legend li").all_inner_texts() == [
        "agreement", "false positive (predicted only)", "false negative (missed)", "another label",
    ]  # fmt: skip
    picture = parts.pixels(page, "axial")
    per_voxel = parts.scale_of(page, "axial") ** 2 * 1.5 * 1.5
    counts = [
        len(parts.where(picture, c)) / per_voxel for c in (parts.AGREEMENT, parts.FALSE_POSITIVE, parts.FALSE_NEGATIVE)
    ]
    assert counts[0] == pytest.approx(11 * 20 + 10 * 16, rel=0.06)
    assert counts[1:] == pytest.approx([20, 20], rel=0.2)  # one voxel wide, some whole pixels on the screen
    page.uncheck("#labels tr[data-value='2'] input")  # without the right lung both agree everywhere
    picture = parts.pixels(page, "axial")
    assert len(parts.where(picture, parts.FALSE_POSITIVE)) == len(parts.where(picture, parts.FALSE_NEGATIVE)) == 0
    assert len(parts.where(picture, parts.AGREEMENT)) / per_voxel == pytest.approx(10 * 16, rel=0.1)


def test_volumes_of_prediction_and_truth_in_ml(page: Any):
    parts.open_case(page, "ct_LPS")
    cells = page.locator("#labels tr[data-value='2'] td").all_inner_texts()
    assert cells == ["25.9", "25.9"]  # 12 x 20 x 12 voxels of 9 mm3 = 25.92 ml, the truth likewise
    assert page.locator("#labels tr[data-value='1'] td").all_inner_texts() == ["17.3", "17.3"]


def test_windows_change_what_is_black(page: Any):
    parts.open_case(page, "ct_LPS")
    page.locator("#opacity").fill("0")
    brightness = []
    for name in ("lung", "soft tissue", "bone"):
        page.click(f"#windows [data-value='{name}']")
        picture = parts.pixels(page, "axial")
        middle = picture[picture.shape[0] // 3 : picture.shape[0] // 2, picture.shape[1] // 3 : picture.shape[1] // 2]
        brightness.append(float(middle.mean()))
    assert brightness[0] > 60  # -900 to -500 HU are grey in a lung window
    assert brightness[1] < 15  # and black in the others
    assert brightness[2] < 15


def test_keys_move_through_cases_slices_views_layers_and_masks(page: Any):
    first = page.locator("body").get_attribute("data-ready")
    page.keyboard.press("n")
    page.wait_for_function("first => document.body.dataset.ready && document.body.dataset.ready !== first", arg=first)
    assert page.locator("#case-title").inner_text() == "ct_LPS"
    page.keyboard.press("p")
    page.wait_for_selector(f"body[data-ready='{first}']", state="attached")
    before = parts.slice_number(page, "axial")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    parts.pixels(page, "axial")
    assert parts.slice_number(page, "axial") == before + 1
    page.keyboard.press("v")
    assert page.locator("#panes").get_attribute("data-view") == "axial"
    page.keyboard.press("t")
    assert page.locator("#layers [aria-pressed=true]").inner_text() == "Truth"
    page.keyboard.press("m")
    assert page.locator("#opacity").input_value() == "0"
    page.keyboard.press("m")
    page.keyboard.press("+")
    assert page.locator("#opacity").input_value() == "45"
    page.keyboard.press("2")
    assert page.locator("#windows [aria-pressed=true]").inner_text() == "soft tissue"
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert "next case" in page.locator("#help").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("nb")  # typed, not taken for keys
    assert page.locator("#search").input_value() == "nb"
    assert page.locator("#tools [aria-pressed=true]").inner_text() == "Look"


def test_the_slider_and_the_list_move_without_mouse_or_keys_of_their_own(page: Any):
    page.locator("#slice").fill("3")
    parts.pixels(page, "axial")
    assert parts.slice_number(page, "axial") == 3
    page.locator("#cases").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#case-title:text('ct_LPS')")


def test_two_fingers_zoom(page: Any):
    parts.open_case(page, "xray")
    parts.solid_masks(page)
    before = len(parts.where(parts.pixels(page, "picture"), parts.COLOURS[parts.RIGHT]))
    page.evaluate(
        """() => {
          const canvas = document.querySelector("[data-plane=picture] canvas");
          canvas.setPointerCapture = () => {};  // there is no such finger
          const box = canvas.getBoundingClientRect();
          const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
          const touch = (kind, pointerId, dx) => canvas.dispatchEvent(
            new PointerEvent(kind, { pointerId, clientX: x + dx, clientY: y, bubbles: true }));
          touch("pointerdown", 11, -50); touch("pointerdown", 12, 50);
          touch("pointermove", 11, -25); touch("pointermove", 12, 25);
          touch("pointerup", 11, -25); touch("pointerup", 12, 25);
        }"""
    )
    after = len(parts.where(parts.pixels(page, "picture"), parts.COLOURS[parts.RIGHT]))
    assert after == pytest.approx(before / 4, rel=0.1)  # fingers at half their distance: a quarter of the area


def test_a_distance_is_measured_in_mm(page: Any):
    parts.open_case(page, "ct_LPS")
    page.keyboard.press("d")
    x0, y0 = parts.spot(page, "axial", (10, 10))
    x1, y1 = parts.spot(page, "axial", (30, 25))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=3)
    page.mouse.up()
    told = page.locator("#distances li button").first.inner_text()
    assert told.endswith("mm (axial)")
    assert float(told.split(" ")[0]) == pytest.approx(np.hypot(20 * 1.5, 15 * 1.5), abs=0.6)


def test_an_xray_shows_masks_sides_and_the_cardiothoracic_ratio(page: Any):
    parts.open_case(page, "xray")
    assert page.locator("#panes").get_attribute("data-view") == "picture"
    assert "right is on the left" in page.locator("[data-plane=picture] canvas").get_attribute("aria-label")
    expected = cardiothoracic_ratio(parts.xray_map(), heart=3, lungs=(1, 2))
    assert expected == pytest.approx(24 / 60)
    assert page.locator("#ratio").inner_text() == "0.40"
    assert page.locator("#labels tr[data-value='3'] td").first.inner_text() == str((parts.xray_map() == 3).sum())
    parts.solid_masks(page)
    picture = parts.pixels(page, "picture")
    right, left = (parts.where(picture, parts.COLOURS[label])[:, 0] for label in (parts.RIGHT, parts.LEFT))
    assert right.max() < picture.shape[1] / 2 < left.min()


def test_the_wheel_zooms_an_xray(page: Any):
    parts.open_case(page, "xray")
    parts.solid_masks(page)
    before = len(parts.where(parts.pixels(page, "picture"), parts.COLOURS[parts.RIGHT]))
    box = page.locator("[data-plane=picture] canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, 200)
    page.wait_for_timeout(100)
    after = len(parts.where(parts.pixels(page, "picture"), parts.COLOURS[parts.RIGHT]))
    assert after == pytest.approx(before * np.exp(-200 * 0.0018) ** 2, rel=0.1)
    page.keyboard.press("f")
    assert len(parts.where(parts.pixels(page, "picture"), parts.COLOURS[parts.RIGHT])) == before


def test_three_dimensions_show_both_lungs_right_on_the_left(browser: Any, site: parts.Site):
    with parts.window(browser, site, solid=True) as page:
        page.wait_for_selector("body[data-solid]", state="attached")
        assert page.locator("#solid-left").inner_text() == "R"
        shot = Pillow.open(io.BytesIO(page.locator("#solid").screenshot())).convert("RGB")
    picture = np.asarray(shot).astype(int)
    blue = np.nonzero((picture[..., 2] > picture[..., 0] + 60) & (picture[..., 2] > 100))[1]
    orange = np.nonzero((picture[..., 0] > picture[..., 2] + 80) & (picture[..., 1] < picture[..., 0]))[1]
    assert min(len(blue), len(orange)) > 1000
    assert orange.mean() < blue.mean()


def test_without_webgl_the_planes_still_show(page: Any):
    page.wait_for_selector("#solid-note:has-text('No 3-D view: this browser has no WebGL 2')")
    parts.solid_masks(page)
    assert len(parts.where(parts.pixels(page, "axial"), parts.COLOURS[parts.RIGHT])) > 1000


def test_nothing_scrolls_sideways_on_a_phone(browser: Any, site: parts.Site):
    with parts.window(browser, site, width=375, height=700) as page:
        for tab in ("cases", "stage", "tools"):
            page.click(f".tabs [data-tab={tab}]")
            assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_every_control_has_a_name(page: Any):
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a, [role=img]")].filter(node =>
          !(node.getAttribute("aria-label") || node.labels?.length || node.textContent.trim())
        ).map(node => node.outerHTML)"""
    )
    assert nameless == []


def test_what_cannot_be_shown_is_told(browser: Any, tmp_path: Path):
    parts.add_volume(tmp_path, "ct")
    (tmp_path / "images" / "ct.nii.gz").write_bytes(b"no image at all")
    parts.add_volume(tmp_path, "mirrored")
    elsewhere = parts.AFFINE @ np.diag([-1.0, 1.0, 1.0, 1.0])  # by the header: the voxels are those of the image's grid
    nibabel.save(nibabel.Nifti1Image(parts.true_map(), elsewhere), tmp_path / "truth" / "mirrored.nii.gz")
    with parts.serving(tmp_path) as site, parts.window(browser, site, refused=1) as page:
        assert page.locator("body").get_attribute("data-failed") is not None
        assert "ct.nii.gz" in page.locator("#stage-error").inner_text()
        page.keyboard.press("n")
        page.wait_for_selector("#stage-error:has-text('The truth lies on another grid than the image')")
        told = page.locator("#stage-error").inner_text()
    assert "up to 141.0 mm apart" in told  # 2 x 47 voxels of 1.5 mm
    assert "--resample-label" in told


def test_an_empty_folder_says_what_to_do(browser: Any, tmp_path: Path):
    with parts.serving(tmp_path) as site, parts.window(browser, site) as page:
        assert "Drop a CT, MR or X-ray" in page.locator("#cases-empty").inner_text()
        assert "drop a CT, MR or chest X-ray" in page.locator("#welcome").inner_text()


def test_masks_without_their_image_are_shown_on_black(browser: Any, tmp_path: Path):
    parts.add_volume(tmp_path, "ct")
    (tmp_path / "images" / "ct.nii.gz").unlink()
    with parts.serving(tmp_path) as site, parts.window(browser, site) as page:
        assert "was not found" in page.locator("#case-notes").inner_text()
        parts.solid_masks(page)
        picture = parts.pixels(page, "axial")
        assert len(parts.where(picture, parts.COLOURS[parts.RIGHT])) > 1000
        assert (picture.sum(axis=2) == 0).mean() > 0.5
