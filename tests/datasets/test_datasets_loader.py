"""Batches prepared ahead: the same ones for any worker count, errors where they are due, nothing left running."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medseg.datasets import CaseLoader, EpochSampler


class Numbers(Dataset[Any]):
    """Its own index, with how many threads computed it; one may be broken."""

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.asked.append(index)
        if index == self.broken:
            raise ValueError("broken")
        return {"index": index, "threads": torch.get_num_threads()}


def batches(loader: Any) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader]


@pytest.mark.parametrize(("workers", "ahead"), [(0, 0), (0, 1), (0, 20), (1, 2)])
def test_the_batches_of_a_dataloader_in_its_order_for_epochs(workers: int, ahead: int) -> None:
    data = Numbers()
    sampler, other = EpochSampler(data, seed=1), EpochSampler(data, seed=1)
    ours = CaseLoader(data, sampler=sampler, batch_size=2, num_workers=workers, ahead=ahead, drop_last=True, timeout=60)
    theirs = DataLoader(data, sampler=other, batch_size=2, drop_last=True)
    assert len(ours) == 3
    for epoch in range(2):
        sampler.set_epoch(epoch)
        other.set_epoch(epoch)
        assert batches(ours) == batches(theirs)


@pytest.mark.parametrize("workers", [0, 1])
def test_one_thread_a_tensor_operation_and_no_draw_from_the_global_state(workers: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        state = torch.get_rng_state()
        assert all(int(n) == 1 for b in CaseLoader(Numbers(), batch_size=2, num_workers=workers) for n in b["threads"])
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_where_its_batch_was_due() -> None:
    iterator = iter(CaseLoader(Numbers(broken=3), batch_size=1, ahead=5))
    assert [int(next(iterator)["index"][0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(iterator)


def test_it_is_ahead_by_as_much_as_asked_and_stops_when_left() -> None:
    data, threads = Numbers(), threading.active_count()
    iterator = iter(CaseLoader(data, batch_size=1, ahead=2))
    next(iterator)
    deadline = time.monotonic() + 20
    while len(data.asked) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert data.asked == [0, 1, 2]
    iterator.close()
    assert threading.active_count() == threads
    assert len(data.asked) <= 3
