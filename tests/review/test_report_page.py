"""The report says what the files say, in one file that asks nobody for anything; what is missing is said too."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from report_parts import FLAG, FolderMaker, csv_of, make_run, parse, table_of

from medseg.errors import DataError, OutputError
from medseg.evaluation.metrics import METRICS
from medseg.review.report import save_plots, write_report

EVIL = '<script>alert("1")</script>'


def report(*folders: Path, to: Path, **options: object) -> Path:
    return write_report(list(folders), to / "report.html", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases from perfect to bad, one of them flagged."""
    maker = FolderMaker(tmp_path_factory.mktemp("all") / "scores")
    for i, shift in enumerate((0, 1, 2, 0, 1, 1)):
        maker.case(f"case_{i}", shift=shift, flags=[FLAG] if i == 4 else [])
    return maker.close()


@pytest.fixture(scope="module")
def page(evaluated: Path) -> Path:
    return report(evaluated, to=evaluated.parent)


def test_the_table_of_cases_is_scores_csv(page: Path, evaluated: Path) -> None:
    shown = table_of(parse(page), "Scores of each case")
    rows = csv_of(evaluated / "scores.csv")
    assert len(shown) == len(rows) == 12
    wanted = {(row["case"], row["region"]): row for row in rows}
    for row in shown:
        truth = wanted[row["Case"][0], row["Region"][0]]
        for name in (name for name in truth if name in METRICS and truth[name]):
            text, value = row[METRICS[name].heading]
            assert value == truth[name]
            assert float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) == pytest.approx(float(value), abs=0.006)


def test_the_means_and_intervals_are_those_of_summary_json(page: Path, evaluated: Path) -> None:
    regions = json.loads((evaluated / "summary.json").read_text())["regions"]
    (dice,) = [row for row in table_of(parse(page), "Mean of each score") if row["Score"][0].startswith("Dice")]
    for region, one in regions.items():
        text, value = dice[region]
        low, high = one["dice"]["mean_ci95"]
        assert value == str(one["dice"]["mean"])
        assert text == f"{one['dice']['mean']:.4f} [{low:.4f}, {high:.4f}]"
    assert "1000 resamples" in page.read_text()


def test_flagged_cases_come_before_all_others(page: Path) -> None:
    root = parse(page)
    assert table_of(root, "Scores of each case")[0]["Case"][0] == "case_4"
    articles = root.all("article")
    assert "case_4" in articles[0].text
    assert FLAG["text"] in articles[0].text
    sections = [one.attributes["id"] for one in root.all("section")]
    assert sections.index("first") < sections.index("scores") < sections.index("cases")


def test_worst_median_and_best_are_where_the_dice_puts_them(page: Path) -> None:
    (section,) = [one for one in parse(page).all("section") if one.attributes["id"] == "cases"]
    headings = [article.all("h3")[0].text for article in section.all("article")]
    # mean Dice: shift 2 worst; shift 1 (cases 1, 4, 5); shift 0 best (cases 0, 3); two of each are shown
    assert headings == ["worst case_2", "worst case_1", "median case_4", "median case_5", "best case_0", "best case_3"]


def test_nothing_is_asked_for_from_outside(page: Path) -> None:
    root, text = parse(page), page.read_text(encoding="utf-8")
    for tag, name in (("img", "src"), ("script", "src"), ("link", "href"), ("a", "href"), ("iframe", "src")):
        for element in root.all(tag):
            assert element.attributes.get(name, "#").startswith(("#", "data:image/webp;base64,"))
    assert not re.search(r"""url\(|@import|(src|href|action)\s*=\s*["']?(https?:)?//""", text)
    assert root.all("form") == []


def test_its_policy_lets_in_its_own_style_and_script_and_nothing_else(page: Path) -> None:
    root = parse(page)
    (policy,) = [
        one.attributes["content"]
        for one in root.all("meta")
        if one.attributes.get("http-equiv", "").startswith("Content-S")
    ]
    assert policy.startswith("default-src 'none'; img-src data:;")
    text = page.read_text(encoding="utf-8")
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert 'style="' not in text  # which the policy would forbid
    assert "onclick" not in text


def test_the_same_folders_give_the_same_bytes(page: Path, evaluated: Path, tmp_path: Path) -> None:
    assert report(evaluated, to=tmp_path).read_bytes() == page.read_bytes()


def test_headings_go_down_step_by_step_and_pictures_and_plots_are_told_in_words(page: Path) -> None:
    root = parse(page)
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page.read_text())]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("contours" in image.attributes["alt"] for image in root.all("img"))
    assert root.all("img")
    for chart in root.all("svg"):
        assert (chart.attributes["role"], len(chart.all("title")[0].text) > 0) == ("img", True)
        assert chart.all("desc")[0].text
    ids = re.findall(r' id="([^"]+)"', page.read_text())
    assert len(ids) == len(set(ids))
    assert {link.attributes["href"][1:] for link in root.all("a")} <= set(ids)
    assert all(cell.attributes["scope"] for cell in root.all("th"))


def test_what_was_run_is_told(page: Path) -> None:
    (section,) = [one for one in parse(page).all("section") if one.attributes["id"] == "run"]
    for told in ("tiny 1.2.3", "ab" * 32, "cd" * 32, "ef" * 32, "float32", "6 done, 0 failed"):
        assert told in section.text


def test_the_images_are_described(page: Path) -> None:
    (section,) = [one for one in parse(page).all("section") if one.attributes["id"] == "data"]
    rows = {row["Images"][0]: row["all (n 6)"][0] for row in table_of(section, "Fingerprint")}
    assert rows["size X (voxels)"] == "12"
    assert rows["spacing Z (mm)"] == "2"
    assert rows["intensity, all values"] == "\N{MINUS SIGN}800 to 40"


def test_text_from_files_is_never_markup(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    maker.case("a&b 'x'", flags=[{**FLAG, "text": EVIL}])
    maker.failed("<img src=x onerror=alert(1)>", EVIL)
    path = report(maker.close(stopped=EVIL, not_done=3), to=tmp_path)
    root = parse(path)
    assert len(root.all("script")) == 1
    assert "alert" not in root.all("script")[0].text
    assert all(image.attributes["src"].startswith("data:") for image in root.all("img"))
    assert f"The run ended early, 3 cases not come to: {EVIL}" in root.all("main")[0].text
    assert "a&b 'x'" in root.all("main")[0].text


def test_an_id_that_is_a_script_stands_in_tables_plots_and_links_as_text(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    folder.mkdir()
    for name in ("scores.csv", "summary.json", "report.json"):
        text = (evaluated / name).read_text()
        evil = EVIL if name.endswith("csv") else json.dumps(EVIL)[1:-1]
        (folder / name).write_text(text.replace("case_2", evil.replace('"', "'") if name.endswith("csv") else evil))
    root = parse(report(folder, to=tmp_path))
    assert len(root.all("script")) == 1
    assert "<script>alert(" in root.all("main")[0].text


def test_failed_cases_are_told_with_their_reason(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    maker.case("good")
    maker.failed("bad", "the image is broken")
    root = parse(report(maker.close(), to=tmp_path))
    assert table_of(root, "Failed cases") == [
        {"Case": ("bad", "bad"), "Reason": ("the image is broken", "the image is broken")}
    ]
    assert "1 case failed, which count in no score." in root.text


def test_all_cases_failed(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    maker.failed("bad", "the image is broken")
    text = parse(report(maker.close(), to=tmp_path)).text
    assert "No case was scored, so there are no scores to show." in text
    assert "No case is done, so there is none to show." in text


def test_one_case(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    maker.case("alone", shift=1)
    root = parse(report(maker.close(), to=tmp_path))
    assert [article.all("h3")[0].text for article in root.all("article")] == ["only case alone"]
    assert "Only 1 case scored: resampled from so few, the intervals come out too narrow" in root.text


def test_an_empty_truth_is_counted_and_told(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    maker.case("full")
    maker.case("none", empty=True)
    root = parse(report(maker.close(), to=tmp_path))
    assert "left lung: 1 with an empty truth only" in root.text
    empty = [row for row in table_of(root, "Scores of each case") if row["Case"][0] == "none"]
    assert [row["Dice"][0] for row in empty] == ["0.0000", "0.0000"]
    assert [row["Empty"][0] for row in empty] == ["truth", "truth"]


def test_predictions_without_truth_have_volumes_confidence_flags_and_pictures(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "masks", truth=False)
    for i, confidence in enumerate((0.99, 0.5, 0.8, 0.9)):
        maker.case(f"case_{i}", confidence=confidence, flags=[FLAG] if i == 2 else [])
    root = parse(report(maker.close(), to=tmp_path))
    rows = table_of(root, "Each case")
    assert [row["Case"][0] for row in rows] == ["case_2", "case_0", "case_1", "case_3"]
    assert rows[0]["left lung: Volume (ml)"] == ("2.048", "2.048")  # 4 x 8 x 8 voxels of 8 mm3
    assert rows[2]["left lung: confidence"] == ("0.5", "0.5")
    assert rows[3]["Confidence"] == ("0.9", "0.9")
    shown = [article.all("h3")[0].text for article in root.all("article")]
    assert shown == ["case_2", "least sure case_1", "median case_2", "surest case_0"]
    assert "There is no truth for these cases" in root.text
    assert [one.attributes["id"] for one in root.all("section")][2] == "predictions"


def test_nobody_having_looked_for_flags_is_not_the_same_as_no_flag(tmp_path: Path) -> None:
    texts = {}
    for name, flags in (("looked", []), ("nobody", None)):
        maker = FolderMaker(tmp_path / name)
        maker.case("a", flags=flags)
        texts[name] = parse(report(maker.close(), to=tmp_path / name)).text
    assert "No case is flagged." in texts["looked"]
    assert "No case is flagged." not in texts["nobody"]
    assert "Nobody looked for signs of failure" in texts["nobody"]


def test_a_run_has_curves_settings_and_a_card(tmp_path: Path) -> None:
    root = parse(report(make_run(tmp_path / "run"), to=tmp_path))
    sections = {one.attributes["id"]: one for one in root.all("section")}
    plots = [figure.all("figcaption")[0].text for figure in sections["training"].all("figure")]
    assert plots == ["Loss", "Dice, validation", "Learning rate"]
    rows = table_of(sections["training"], "Each epoch")
    assert [row["loss"][1] for row in rows] == [row["loss"] for row in csv_of(tmp_path / "run" / "history.csv")]
    assert [row["val mean dice"][0] for row in rows] == ["\N{EN DASH}", "0.5", "0.75"]
    run = sections["run"].text
    for told in (
        "seed 42",
        "a machine",
        "torch 2.13",
        hashlib.sha256(b"weights").hexdigest(),
        "3 of 3",
        "0.625 at epoch 2",
    ):
        assert told in run
    assert "a <b>bold</b> bundle" in sections["card"].text
    assert "0.9876" not in root.text  # the bundle's own weights had it, not those of this run


def test_a_run_that_chose_its_weights_by_another_score_says_by_which(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    named = {"best_validation_dice": None, "best_validation_score": 0.875, "best_validation_score_name": "val_mean_nsd"}
    (run / "run.json").write_text(json.dumps({**record, **named}))
    text = parse(report(run, to=tmp_path)).text
    assert text.count("est validation val_mean_nsd") == 2
    assert "best val_mean_nsd on the validation cases" in text
    assert "0.875 at epoch 2" in text


def test_a_bundle_alone_has_its_card_with_the_scores_it_states(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "bundle")
    (folder / "run.json").unlink()
    text = parse(report(folder, to=tmp_path)).text
    assert "stated by the bundle: mean dice 0.9876" in text
    assert "how good the model is on these images is not known" in text


def test_a_run_and_its_evaluation_are_told_to_belong_together(evaluated: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = parse(report(run, evaluated, to=tmp_path)).text
    assert "weights are those of none of the folders of this report" in text
    digest = hashlib.sha256(b"weights").hexdigest()
    maker = FolderMaker(tmp_path / "own")
    maker.case("a")
    folder = maker.close()
    manifest = folder / "a_manifest.json"
    manifest.write_text(manifest.read_text().replace("ab" * 32, digest))
    text = parse(report(run, folder, to=tmp_path)).text
    assert "weights are those of run" in text
    assert "measured in own: Dice left lung" in text


def test_a_run_without_history_says_so(tmp_path: Path) -> None:
    assert (
        "No curves: the run has no history.csv"
        in parse(report(make_run(tmp_path / "run", history=False), to=tmp_path)).text
    )


def test_the_plots_are_drawn_on_request(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert save_plots([run]) == [run / "training.png", run / "training.svg"]
    assert (run / "training.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(DataError, match=r"no history\.csv"):
        save_plots([make_run(tmp_path / "old", history=False)])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("report.json", "{", "no JSON"),
        ("report.json", "[]", "no record"),
        ("other.txt", "", "nothing to report on"),
    ],
)
def test_a_folder_that_holds_nothing_or_damage_is_refused(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=expected):
        report(tmp_path, to=tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_without_jinja2_the_install_command_is_told(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(OutputError, match=r"pip install 'medseg\[report\]'"):
        report(evaluated, to=tmp_path)


def test_masks_that_were_only_scored_say_what_is_not_known(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "only"
    folder.mkdir()
    for name in ("scores.csv", "summary.json", "report.json"):
        (folder / name).write_bytes((evaluated / name).read_bytes())
    text = parse(report(folder, to=tmp_path)).text
    assert "the masks were only scored; how they were made is not recorded" in text
    assert "Contours: yellow" not in text  # there are no pictures
    assert "No reliability curve: masks alone say nothing of confidence." in text
    assert "The folder holds no picture of this case." in text
    assert "No fingerprint: the masks were scored without their images." in text


def test_a_case_that_is_flagged_and_among_the_worst_is_pictured_once_and_linked(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    for i in range(3):
        maker.case(f"case_{i}", shift=i, flags=[FLAG] if i == 2 else [])
    root = parse(report(maker.close(), to=tmp_path))
    first, cases = (
        next(one for one in root.all("section") if one.attributes["id"] == name) for name in ("first", "cases")
    )
    assert len(first.all("img")) == 1
    worst = cases.all("article")[0]
    assert worst.all("h3")[0].text == "worst case_2"
    assert worst.all("img") == []
    assert worst.all("a")[0].attributes["href"] == f"#{first.all('article')[0].attributes['id']}"


def test_of_many_flagged_cases_the_first_are_shown_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.review.report.cases.MOST_FLAGGED", 2)
    maker = FolderMaker(tmp_path / "masks", truth=False)
    for i in range(3):
        maker.case(f"case_{i}", flags=[FLAG])
    root = parse(report(maker.close(), to=tmp_path))
    assert "Flagged: 3 of 3 cases." in root.text
    assert "Only the first 2 are shown here" in root.text
    assert [row["Flags"][0] for row in table_of(root, "Each case")] == ["1", "1", "1"]


def test_the_roc_of_the_flags_is_drawn_with_the_area_of_the_summary(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    for i, shift in enumerate((0, 2, 0, 2)):
        maker.case(f"case_{i}", shift=shift)
    folder = maker.close()
    for i, excess in enumerate((0.1, 3.0, 0.2, 0.15)):  # one failed case is above both good ones, one between them
        path = folder / f"case_{i}_manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "flag_excess": excess}))
    summary = json.loads((folder / "summary.json").read_text())
    area = {"auc": 0.75, "auc_ci95": [0.5, 1.0], "failed": 2, "good": 2}
    areas = {"rules": area, "predicted_dice": {**area, "auc_ci95": None}}
    summary["failure_flags"] = {"cases": 4, "flagged": 1, "dice_below": 0.9, "failed": 2, "roc": areas}
    (folder / "summary.json").write_text(json.dumps(summary))
    root = parse(report(folder, to=tmp_path))
    rows = {row["What"][0]: row["Value"][0] for row in table_of(root, "Failure flags")}
    assert rows["area under the ROC curve, rules"] == "0.750 [0.500, 1.000]"
    assert rows["area under the ROC curve, predicted Dice"] == "0.750 one patient: no interval"
    (figure,) = [one for one in root.all("figure") if "true failures" in one.all("figcaption")[0].text]
    assert "rules (area 0.750)" in figure.text
    points = [tuple(map(float, pair.split(","))) for pair in figure.all("polyline")[0].attributes["points"].split()]
    width, height = 380 - 64 - 12, 270 - 12 - 42
    fractions = [(round((x - 64) / width, 2), round((228 - y) / height, 2)) for x, y in points]
    assert fractions == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]


def test_strata_of_the_summary_are_shown_with_their_intervals(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "only"
    folder.mkdir()
    for name in ("scores.csv", "report.json"):
        (folder / name).write_bytes((evaluated / name).read_bytes())
    summary = json.loads((evaluated / "summary.json").read_text())
    part = {"cases": 2, "regions": {"left lung": {"dice": {"mean": 0.5, "n": 2, "mean_ci95": [0.25, 0.75]}}}}
    (folder / "summary.json").write_text(json.dumps({**summary, "strata": {"scanner": {"A": part}}}))
    rows = table_of(parse(report(folder, to=tmp_path)), "Mean Dice with its 95 % interval by scanner")
    assert rows == [{"scanner": ("A", "A"), "Cases": ("2", "2"), "Dice left lung": ("0.5000 [0.2500, 0.7500]", "0.5")}]


def test_one_patient_has_no_interval(tmp_path: Path) -> None:
    maker = FolderMaker(tmp_path / "scores")
    maker.case("alone", shift=1)
    folder = maker.close()
    root = parse(report(folder, to=tmp_path))
    dice = table_of(root, "Mean of each score with its 95 % interval (none of one patient)")[0]
    regions = json.loads((folder / "summary.json").read_text())["regions"]
    assert {name: dice[name][0] for name in regions} == {n: f"{one['dice']['mean']:.4f}" for n, one in regions.items()}


def test_the_spread_of_each_score_sorts_with_its_interval(page: Path, evaluated: Path) -> None:
    summary = json.loads((evaluated / "summary.json").read_text())["regions"]["right lung"]["dice"]
    rows = table_of(parse(page), "Spread over the cases")
    (row,) = [one for one in rows if one["Region"][0] == "right lung" and one["Score"][0].startswith("Dice")]
    assert [row[key][1] for key in ("mean", "from", "to", "sd")] == [
        str(value) for value in (summary["mean"], *summary["mean_ci95"], summary["sd"])
    ]


def test_an_evaluation_without_its_datalist_says_that_split_and_leakage_are_unknown(page: Path) -> None:
    assert "No split and no leakage check" in parse(page).text


def test_a_stopped_run_of_one_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", epochs=1)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "stopped", "reason": "KeyboardInterrupt: "}))
    root = parse(report(run, to=tmp_path))
    assert "stopped: KeyboardInterrupt" in root.text
    assert root.all("section")[0].all("li")[0].attributes["class"] == "bad"
    assert len(root.all("figure")) == 3


def test_a_case_is_shown_with_the_scores_and_sizes_of_its_regions(page: Path, evaluated: Path) -> None:
    rows = {row["region"]: row for row in csv_of(evaluated / "scores.csv") if row["case"] == "case_2"}
    shown = table_of(parse(page), "Regions of case_2")
    assert [row["Region"][0] for row in shown] == ["left lung", "right lung"]
    for row in shown:
        wanted = rows[row["Region"][0]]
        for heading, name in (("Dice", "dice"), ("HD95 (mm)", "hd95_mm"), ("Predicted volume (ml)", "predicted_ml")):
            assert row[heading][1] == wanted[name]
