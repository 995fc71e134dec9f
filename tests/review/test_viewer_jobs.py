"""Segmentations wait in one queue, can be cancelled, fail with a reason, and do not depend on any browser."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient
from viewer_parts import (
    BASE,
    DEADLINE_SECONDS,
    OURS,
    cases_by_name,
    correct,
    mask,
    save,
    viewing,
    volume,
    wait_for,
)

from medseg.review.viewer.child import Child, ChildDiedError
from medseg.review.viewer.jobs import MOST_WAITING, Jobs


def segment(client: TestClient, tmp_path: Path, name: str, *, bundle: str = "ct_lung") -> dict[str, Any]:
    """Upload a volume of that name and ask for its mask."""
    data = save(volume(), tmp_path / "made" / f"{name}.nii.gz").read_bytes()
    taken = client.post("/api/uploads", headers=OURS, files={"files": (f"{name}.nii.gz", data)}).json()
    answer = client.post("/api/jobs", headers=OURS, json={"upload": taken["upload"], "bundle": bundle})
    assert answer.status_code == 202, answer.text
    return answer.json()


def jobs(client: TestClient) -> dict[str, dict[str, Any]]:
    return {job["name"]: job for job in client.get("/api/jobs").json()}


def states(client: TestClient) -> dict[str, str]:
    return {name: job["state"] for name, job in jobs(client).items()}


def test_a_segmented_case_has_its_mask_volumes_and_measurements(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        asked = segment(client, tmp_path, "quick")
        job = wait_for(lambda: next((j for j in client.get("/api/jobs").json() if j["state"] == "done"), None))
        assert (job["job"], job["done"], job["total"], job["error"]) == (asked["job"], 4, 4, None)
        case = client.get(f"/api/cases/{asked['case']}").json()
        assert case["has_prediction"]
        assert (case["volumes_ml"], case["measurements"]) == ({"blob": 0.003}, {"ratio": 0.5})
        mask = client.get(case["urls"]["mask_download"])
        assert mask.headers["content-disposition"] == 'attachment; filename="quick_mask.nii.gz"'


def test_a_corrected_upload_is_not_segmented_into_labels_of_another_meaning(tmp_path: Path):
    files = {"files": ("ct.nii.gz", save(volume(), tmp_path / "made" / "ct.nii.gz").read_bytes())}
    with viewing(tmp_path, bundle="ct_lung") as (client, _):
        case = client.post("/api/uploads", headers=OURS, files=files).json()["cases"][0]["id"]
        assert correct(client, case, mask().array).status_code == 200
        jobs = {name: {"case": case, "bundle": name} for name in ("ct_sarcoma", "ct_lung")}
        answers = {name: client.post("/api/jobs", headers=OURS, json=asked) for name, asked in jobs.items()}
    assert {name: one.status_code for name, one in answers.items()} == {"ct_sarcoma": 422, "ct_lung": 202}
    assert "labels of another bundle" in answers["ct_sarcoma"].json()["error"]


def test_jobs_wait_for_each_other_and_any_browser_sees_them(tmp_path: Path):
    with viewing(tmp_path) as (client, viewer):
        segment(client, tmp_path, "slow")
        wait_for(lambda: jobs(client)["slow"]["stage"] == "read")
        segment(client, tmp_path, "second")
        segment(client, tmp_path, "third")
        reloaded = TestClient(client.app, base_url=BASE, cookies={viewer.access.cookie: viewer.access.sessions.open()})
        assert states(reloaded) == {"slow": "running", "second": "waiting", "third": "waiting"}
        assert [jobs(reloaded)[name]["ahead"] for name in ("slow", "second", "third")] == [0, 1, 2]
        assert reloaded.get("/api/state").status_code == 200  # while a job runs


def test_a_waiting_job_is_cancelled_and_never_runs(tmp_path: Path):
    with viewing(tmp_path) as (client, viewer):
        segment(client, tmp_path, "slow")
        waiting = segment(client, tmp_path, "second")
        assert client.delete(f"/api/jobs/{waiting['job']}", headers=OURS).status_code == 204
        assert states(client)["second"] == "cancelled"
        client.delete(f"/api/jobs/{jobs(client)['slow']['job']}", headers=OURS)
        segment(client, tmp_path, "third")
        wait_for(lambda: states(client)["third"] == "done")
        assert states(client) == {"slow": "cancelled", "second": "cancelled", "third": "done"}
        assert not viewer.entries.get(waiting["case"]).prediction


def test_a_running_job_is_cancelled_at_once_and_the_next_one_runs(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        running = segment(client, tmp_path, "slow")
        wait_for(lambda: jobs(client)["slow"]["stage"] == "read")
        segment(client, tmp_path, "next")
        assert client.delete(f"/api/jobs/{running['job']}", headers=OURS).status_code == 204
        assert states(client)["slow"] == "cancelled"
        wait_for(lambda: states(client)["next"] == "done")
        # an ended one is taken off the list
        assert client.delete(f"/api/jobs/{running['job']}", headers=OURS).status_code == 204
        assert list(jobs(client)) == ["next"]
        assert client.delete(f"/api/jobs/{running['job']}", headers=OURS).status_code == 404


def test_a_failed_job_tells_why_without_the_place_of_the_file(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        segment(client, tmp_path, "bad")
        segment(client, tmp_path, "good")
        wait_for(lambda: states(client)["good"] == "done")
        job = jobs(client)["bad"]
    assert job["state"] == "failed"
    assert job["error"].endswith("bad.nii.gz: no image at all")
    assert str(tmp_path) not in job["error"]


def test_a_network_that_dies_fails_its_job_alone(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        segment(client, tmp_path, "dies")
        segment(client, tmp_path, "good")
        wait_for(lambda: states(client)["good"] == "done")
        assert "exit code 3" in jobs(client)["dies"]["error"]


def test_removing_a_case_ends_its_job(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        asked = segment(client, tmp_path, "slow")
        wait_for(lambda: jobs(client)["slow"]["stage"] == "read")
        assert client.delete(f"/api/cases/{asked['case']}", headers=OURS).status_code == 204
        assert states(client)["slow"] == "cancelled"


def test_an_upload_of_volumes_and_pictures_is_segmented_as_far_as_the_bundle_takes_it(tmp_path: Path):
    picture = io.BytesIO()
    Pillow.fromarray(np.arange(320, dtype=np.uint8).reshape(20, 16)).save(picture, format="PNG")
    files = {
        "quick.nii.gz": save(volume(), tmp_path / "made" / "ct.nii.gz").read_bytes(),
        "scout.png": picture.getvalue(),
    }
    with viewing(tmp_path) as (client, _):
        sent = [("files", (name, data)) for name, data in files.items()]
        taken = client.post("/api/uploads", headers=OURS, files=sent).json()
        assert [case["name"] for case in taken["cases"]] == ["quick", "scout"]
        asked = {"upload": taken["upload"], "bundle": "ct_lung"}
        assert client.post("/api/jobs", headers=OURS, json=asked).status_code == 202
        assert list(jobs(client)) == ["quick"]


class DyingChild(Child):
    """Its process dies while it answers, and tells so only once the test lets it; the next answers at once."""

    def __init__(self) -> None:
        super().__init__(())
        self.asked, self.told, self.asks = threading.Event(), threading.Event(), 0

    def start(self) -> None:
        """Nothing: there is no process."""

    kill = release = start

    def ask(self, request: Mapping[str, Any], *, told: Callable[[Mapping[str, Any]], bool]) -> None:
        self.asks += 1
        if self.asks > 1:
            told({"job": request["job"], "failed": "no image"})
            return
        self.asked.set()
        self.told.wait(DEADLINE_SECONDS)
        raise ChildDiedError(-9)


def begun(child: DyingChild, folder: Path) -> tuple[Jobs, str]:
    """A queue of two jobs with the id of the first, which the child has been asked for."""
    queue = Jobs(done=lambda job, files: None, hide=str, child=child)
    about: dict[str, Any] = {"bundle": "b", "bundle_folder": folder, "image": folder, "results": folder}
    queue.start(bundle=None)
    first, _ = (queue.add(case=str(number), name=name, **about) for number, name in enumerate(("first", "next")))
    assert child.asked.wait(DEADLINE_SECONDS)
    return queue, first.id


def test_a_job_that_is_cancelled_by_two_at_once_does_not_end_the_queue(tmp_path: Path):
    """A double click on Cancel: the second takes the job off the list before its process is gone."""
    child = DyingChild()
    queue, first = begun(child, tmp_path)
    for _ in range(2):
        queue.cancel(first)
    child.told.set()
    (job,) = wait_for(lambda: [one for one in queue.all() if one["state"] == "failed"])
    queue.close()
    assert (job["name"], job["error"]) == ("next", "no image")


class LateChild(DyingChild):
    """Its first job has just ended when it is killed: whatever is asked meanwhile dies with the process."""

    def kill(self) -> None:
        self.told.set()
        time.sleep(0.2)  # time enough to ask for the next one
        self.dead = self.asks > 1

    def ask(self, request: Mapping[str, Any], *, told: Callable[[Mapping[str, Any]], bool]) -> None:
        self.asks += 1
        self.asked.set()
        self.told.wait(DEADLINE_SECONDS)
        if self.asks > 1:
            time.sleep(0.4)
            if self.dead:
                raise ChildDiedError(-9)
            told({"job": request["job"], "failed": "no image"})


def test_who_cancels_a_job_that_is_just_done_does_not_end_the_next_one(tmp_path: Path):
    queue, first = begun(LateChild(), tmp_path)
    queue.cancel(first)
    (job,) = wait_for(lambda: [one for one in queue.all() if one["state"] == "failed"])
    queue.close()
    assert (job["name"], job["error"]) == ("next", "no image")


def test_a_case_of_the_folder_keeps_its_mask_when_it_is_segmented_again(folder: Path, tmp_path: Path):
    before = (folder / "case_0.nii.gz").read_bytes()
    with viewing(tmp_path, folder=folder, truth=tmp_path / "truth") as (client, _):
        case = cases_by_name(client)["case_0"]["id"]
        asked = client.post("/api/jobs", headers=OURS, json={"case": case, "bundle": "ct_lung"}).json()
        assert asked["case"] != case
        wait_for(lambda: states(client)["case_0"] == "done")
        again = client.get(f"/api/cases/{asked['case']}").json()
        assert (again["source"], again["has_truth"], again["volumes_ml"]) == ("upload", True, {"blob": 0.003})
        assert len(client.get(f"/api/cases/{case}").json()["volumes_ml"]) == 2
    assert (folder / "case_0.nii.gz").read_bytes() == before


def test_a_mask_that_was_made_beside_the_folder_stays_until_the_next_is_there(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        asked = {"case": cases_by_name(client)["case_0"]["id"], "bundle": "ct_lung"}
        case = client.post("/api/jobs", headers=OURS, json=asked).json()["case"]
        wait_for(lambda: client.get(f"/api/cases/{case}").json()["has_prediction"])
        segment(client, tmp_path, "slow")  # the next one waits behind it, and is given up
        again = client.post("/api/jobs", headers=OURS, json=asked).json()
        assert again["case"] == case
        client.delete(f"/api/jobs/{again['job']}", headers=OURS)
        assert client.get(f"/api/cases/{case}").json()["volumes_ml"] == {"blob": 0.003}


@pytest.mark.parametrize(
    ("wanted", "status", "told"),
    [
        ({"case": "CASE", "bundle": "no_such"}, 404, "no such bundle"),
        ({"case": "CASE", "bundle": "cxr_heart_lung"}, 422, "is for pictures"),
        ({"case": "0" * 16, "bundle": "ct_lung"}, 404, "no such case"),
        ({"upload": "0" * 16, "bundle": "ct_lung"}, 404, "no such upload"),
        ({"bundle": "ct_lung"}, 422, "either a case or an upload"),
    ],
    ids=["bundle", "kind", "case", "upload", "neither"],
)
def test_what_cannot_be_segmented_is_refused(
    folder: Path, tmp_path: Path, wanted: dict[str, str], status: int, told: str
):
    with viewing(tmp_path, folder=folder) as (client, _):
        case = cases_by_name(client)["case_0"]["id"]
        asked = {key: case if value == "CASE" else value for key, value in wanted.items()}
        answer = client.post("/api/jobs", headers=OURS, json=asked)
    assert answer.status_code == status
    assert told in answer.json()["error"]


def test_the_queue_has_an_end(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        case = segment(client, tmp_path, "slow")["case"]
        wait_for(lambda: jobs(client)["slow"]["stage"] == "read")
        asked = {"case": case, "bundle": "ct_lung"}
        answers = [client.post("/api/jobs", headers=OURS, json=asked).status_code for _ in range(MOST_WAITING + 1)]
        assert set(answers[:-1]) == {202}
        assert answers[-1] == 422
