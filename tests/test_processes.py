"""The memory that a process may take: the machine's, less by its container or job, and by who else is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg import processes
from medseg.processes import SIDE_BY_SIDE, group_limits_bytes, memory_bytes, memory_share_bytes


def system(folder: Path, member: str, **limits: str) -> Path:
    """proc/ and sys/ of a process that is in the groups of `member`; `limits` by file, "/" written as "__"."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(member)
    for name, text in limits.items():
        file = (
            folder / "sys" / "fs" / "cgroup" / name.replace("__", "/").replace("_max", ".max").replace("_lim", ".lim")
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize(
    ("member", "limits", "found"),
    [
        ("0::/\n", {"memory_max": "4000"}, [4000]),
        ("0::/slurm/job_7/step_0\n", {"slurm__job_7__memory_max": "3000", "slurm__memory_max": "max"}, [3000]),
        ("0::/docker/of_the_host\n", {"memory_max": "2000"}, [2000]),
        ("5:cpu:/\n4:memory:/slurm/job_7\n0::/\n", {"memory__slurm__job_7__memory_limit_in_bytes": "1000"}, [1000]),
        ("0::/\n", {}, []),
    ],
    ids=["container", "job", "container with the name of the host", "job, version 1", "none"],
)
def test_limits_are_those_of_the_own_group_and_of_all_round_it(
    member: str, limits: dict[str, str], found: list[int], tmp_path: Path
) -> None:
    assert list(group_limits_bytes(system(tmp_path, member, **limits))) == found


def test_a_system_without_groups_has_no_limits(tmp_path: Path) -> None:
    assert list(group_limits_bytes(tmp_path)) == []


def test_the_least_counts_and_is_shared_by_all_that_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "group_limits_bytes", lambda: [1 << 60, 6000])
    assert (memory_bytes(), memory_share_bytes()) == (6000, 6000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv(SIDE_BY_SIDE, "3")
    assert (memory_bytes(), memory_share_bytes()) == (6000, 1000)
