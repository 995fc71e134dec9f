"""The cached data set and its sampler: the same batches for any worker count, epoch and resume."""

from __future__ import annotations

import pickle
import pydoc
import subprocess
import sys
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.engines import SupervisedTrainer
from monai.transforms import (
    Compose,
    Lambdad,
    RandFlipd,
    RandGaussianNoised,
    RandSpatialCropd,
    RandSpatialCropSamplesd,
)
from torch.utils.data import DataLoader

from medseg import processes
from medseg.datasets import CaseDataset, EpochSampler, cases
from medseg.datasets.items import size_bytes
from medseg.errors import BundleError, LabelError, MedsegError
from medseg.processes import SIDE_BY_SIDE

N = 5


def case(i: int) -> dict[str, object]:
    return {"id": f"c{i}", "image": float(i)}


def load(value: float) -> MetaTensor:
    return MetaTensor(torch.full((1, 4, 4), value))


def no_change(value: object) -> object:
    return value


def spoil(value: MetaTensor) -> MetaTensor:
    value.add_(100.0)
    value.meta["spoiled"] = True
    return value


def refuse_third(value: float) -> MetaTensor:
    if value == 2.0:
        raise LabelError("labels outside the bundle's set", got="{7}")
    return load(value)


def break_third(value: float) -> MetaTensor:
    if value == 2.0:
        raise ZeroDivisionError
    return load(value)


PREPROCESSING = [Lambdad(keys="image", func=load)]


def noise() -> list[object]:
    return [RandGaussianNoised(keys="image", prob=1.0, std=0.1), RandFlipd(keys="image", prob=0.5, spatial_axis=0)]


def dataset(**kwargs: object) -> CaseDataset:
    return CaseDataset([case(i) for i in range(N)], PREPROCESSING, noise(), seed=3, **kwargs)


def batches(workers: int, epochs: int = 2, first: int = 0) -> list[tuple[list[str], torch.Tensor]]:
    data = dataset()
    sampler = EpochSampler(data, seed=3)
    loader = DataLoader(
        data,
        batch_size=2,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=list_data_collate,
    )
    out = []
    for epoch in range(first, first + epochs):
        sampler.set_epoch(epoch)
        out += [(batch["id"], batch["image"].as_tensor()) for batch in loader]
    return out


def same(a: list[tuple[list[str], torch.Tensor]], b: list[tuple[list[str], torch.Tensor]]) -> bool:
    return len(a) == len(b) and all(i == j and torch.equal(x, y) for (i, x), (j, y) in zip(a, b, strict=True))


def test_item_carries_its_id_and_its_own_pixels() -> None:
    item = CaseDataset([case(i) for i in range(N)], PREPROCESSING)[3]
    assert item["id"] == "c3"
    assert item["image"].mean() == 3.0


def test_same_index_gives_the_same_augmentation_and_other_epochs_another() -> None:
    data = dataset()
    first, again, later = data[1], data[1], data[1 + N]
    assert torch.equal(first["image"], again["image"])
    assert first["id"] == later["id"] == "c1"
    assert not torch.equal(first["image"], later["image"])


def test_two_seeds_differ() -> None:
    cases = [case(0)]
    a, b = (CaseDataset(cases, PREPROCESSING, noise(), seed=seed)[0]["image"] for seed in (0, 1))
    assert not torch.equal(a, b)


def test_cached_and_uncached_agree() -> None:
    kept, anew = dataset(cache=True), dataset(cache=False)
    assert all(torch.equal(kept[i]["image"], anew[i]["image"]) for i in range(2 * N))


def test_preprocessing_runs_once_a_case_when_cached() -> None:
    calls: list[float] = []

    def counted(value: float) -> MetaTensor:
        calls.append(value)
        return load(value)

    data = CaseDataset([case(i) for i in range(N)], [Lambdad(keys="image", func=counted)], noise())
    assert [data[i]["id"] for i in range(2 * N)] == [f"c{i}" for i in range(N)] * 2
    assert sorted(calls) == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("others", "kept"), [({}, N), ({"LOCAL_WORLD_SIZE": "2"}, N // 2), ({SIDE_BY_SIDE: "2"}, N // 2)], ids=str
)
def test_processes_that_train_together_or_side_by_side_share_the_memory(
    others: dict[str, str], kept: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of the memory holds all cases, which each process would keep."""
    half_the_memory_is(monkeypatch, all_cases_bytes())
    for name, number in others.items():
        monkeypatch.setenv(name, number)
    dataset()
    assert told(caplog) == ([f"{kept} of {N} cases are kept in memory"] if kept < N else [])


def test_the_data_sets_of_a_process_share_the_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Training and validation; what a data set kept that is gone is free again."""
    half_the_memory_is(monkeypatch, all_cases_bytes())
    training = dataset()
    dataset()
    assert told(caplog) == [f"0 of {N} cases are kept in memory"]
    assert len(training._cached) == N
    del training
    caplog.clear()
    dataset()
    assert told(caplog) == []


def all_cases_bytes() -> int:
    return sum(size_bytes(item) for item in dataset()._cached.values())


def half_the_memory_is(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Of a process that keeps nothing yet."""
    monkeypatch.setattr(cases, "_KEPT_BYTES", WeakKeyDictionary())
    monkeypatch.setattr(processes, "memory_bytes", lambda: 2 * size)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(" (")[0] for record in caplog.records]


def test_augmentation_in_place_leaves_the_cache_alone() -> None:
    data = CaseDataset([case(1)], PREPROCESSING, [Lambdad(keys="image", func=spoil)])
    for _ in range(2):
        item = data[0]
        assert item["image"].mean() == 101.0
    assert "spoiled" not in CaseDataset([case(1)], PREPROCESSING)[0]["image"].meta


def test_crops_in_a_list_each_carry_the_id() -> None:
    crops = RandSpatialCropSamplesd(keys="image", roi_size=(2, 2), num_samples=3, random_size=False)
    data = CaseDataset([case(i) for i in range(2)], PREPROCESSING, [crops])
    assert [one["id"] for one in data[1]] == ["c1", "c1", "c1"]
    batch = next(iter(DataLoader(data, batch_size=2, collate_fn=list_data_collate)))
    assert batch["image"].shape == (6, 1, 2, 2)
    assert batch["id"] == ["c0"] * 3 + ["c1"] * 3


def test_an_error_names_the_case_and_keeps_its_kind() -> None:
    with pytest.raises(LabelError, match=r"case c2: labels outside the bundle's set; got \{7\}"):
        CaseDataset([case(i) for i in range(N)], [Lambdad(keys="image", func=refuse_third)])


def test_a_bug_in_the_chain_stays_a_bug_and_names_the_case() -> None:
    with pytest.raises(Exception, match="applying transform") as info:
        CaseDataset([case(i) for i in range(N)], [Lambdad(keys="image", func=break_third)])
    assert not isinstance(info.value, MedsegError)
    assert "in case c2" in info.value.__notes__


@pytest.mark.parametrize(
    "chain",
    [noise(), Compose([*PREPROCESSING, Compose(noise())]), RandFlipd(keys="image")],
    ids=["list", "nested", "single"],
)
def test_random_preprocessing_is_refused(chain: object) -> None:
    with pytest.raises(BundleError, match=r"preprocessing holds random transforms.*RandFlipd"):
        CaseDataset([case(0)], chain)


def test_sampler_orders_are_permutations_that_change_with_epoch_and_seed() -> None:
    sampler, orders = EpochSampler(range(20), seed=1), []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert sorted(indices) == list(range(epoch * 20, epoch * 20 + 20))
        orders.append(tuple(i % 20 for i in indices))
    other = EpochSampler(range(20), seed=2)
    assert len({*orders, tuple(other)}) == 4


def test_sampler_without_shuffle_keeps_the_order() -> None:
    sampler = EpochSampler(range(3), seed=0, shuffle=False)
    sampler.set_epoch(2)
    assert list(sampler) == [6, 7, 8]


def test_two_processes_share_an_epoch() -> None:
    parts = []
    for rank in range(2):
        sampler = EpochSampler(range(5), seed=0)
        sampler.rank, sampler.num_replicas = rank, 2
        parts.append(list(sampler))
    assert [len(part) for part in parts] == [2, 2]  # the fifth case waits for a later epoch
    assert len({*parts[0], *parts[1]}) == 4  # none counts twice
    assert [case for pair in zip(*parts, strict=True) for case in pair] == list(EpochSampler(range(5), seed=0))[:4]


def test_workers_and_resume_do_not_change_the_batches() -> None:
    alone = batches(0)
    assert same(alone, batches(2))
    assert same(alone[3:], batches(0, epochs=1, first=1))
    assert not same(alone[:3], alone[3:])


def trainer_batches(start: int, workers: int = 0) -> list[tuple[int, list[str], torch.Tensor]]:
    """What MONAI's engine sees from epoch `start` (counted from 0) to epoch 3."""
    data = dataset()
    loader = DataLoader(
        data,
        batch_size=2,
        sampler=EpochSampler(data, seed=3),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=list_data_collate,
    )
    seen: list[tuple[int, list[str], torch.Tensor]] = []

    def step(engine: object, batch: dict[str, object]) -> dict[str, object]:
        seen.append((engine.state.epoch, list(batch["id"]), batch["image"].as_tensor()))
        return {}

    network = torch.nn.Conv2d(1, 1, 1)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=3,
        train_data_loader=loader,
        network=network,
        decollate=False,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=torch.nn.MSELoss(),
        iteration_update=step,
    )
    if start:
        trainer.load_state_dict({"epoch": start, "max_epochs": 3, "epoch_length": len(loader)})
    trainer.run()
    return seen


def test_monai_engine_moves_the_epoch_on_and_resumes_in_step() -> None:
    whole = trainer_batches(0)
    assert [epoch for epoch, _, _ in whole] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    orders = {epoch: [i for e, ids, _ in whole if e == epoch for i in ids] for epoch in (1, 2, 3)}
    assert all(sorted(order) == [f"c{i}" for i in range(N)] for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 3
    pixels = {e: torch.cat([x for f, ids, x in whole if f == e for x in [x[[i == "c0" for i in ids]]]]) for e in orders}
    assert not torch.equal(pixels[1], pixels[2])
    assert not torch.equal(pixels[2], pixels[3])
    resumed = trainer_batches(2)
    assert [epoch for epoch, _, _ in resumed] == [3, 3, 3]
    assert same([x[1:] for x in whole[6:]], [x[1:] for x in resumed])


def test_classes_are_found_by_name_and_pickled_and_imported_late() -> None:
    assert pydoc.locate("medseg.datasets.CaseDataset") is CaseDataset
    assert pydoc.locate("medseg.datasets.EpochSampler") is EpochSampler
    copy = pickle.loads(pickle.dumps(dataset()))  # spawned workers receive it so
    assert torch.equal(copy[2]["image"], dataset()[2]["image"])
    code = "import sys, medseg.datasets; sys.exit(bool({'torch', 'monai', 'SimpleITK', 'pydicom'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_random_crop_is_the_same_after_other_cases_were_read() -> None:
    data = CaseDataset(
        [case(i) for i in range(N)],
        [Lambdad(keys="image", func=gradient)],
        RandSpatialCropd(keys="image", roi_size=(2, 2), random_size=False),
    )
    alone = data[4 + 7 * N]["image"]
    for i in np.random.default_rng(0).permutation(N):
        data[int(i)]
    assert torch.equal(alone, data[4 + 7 * N]["image"])


def gradient(value: float) -> MetaTensor:
    return MetaTensor(torch.arange(64.0).reshape(1, 8, 8) + value)
