"""Slab by slab gives the labels of the full-volume method: MONAI's logits, restored as a whole."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from scipy.special import entr, softmax

from medseg.errors import BundleError
from medseg.inference import Foreground, Mirror, Segmenter, SlidingWindow, restore_labels
from medseg.inference.memory import windows_at_once
from medseg.inference.runner import WindowRunner, _copied
from medseg.inference.volume import Volume

CPU = torch.device("cpu")


def network(dims: int, classes: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    kind: Any = torch.nn.Conv3d if dims == 3 else torch.nn.Conv2d
    return torch.nn.Sequential(kind(1, 4, 3, padding=1), torch.nn.ReLU(), kind(4, classes, 3, padding=1)).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def volume(inputs: torch.Tensor, affine: np.ndarray | None = None, shape: tuple[int, ...] | None = None) -> Volume:
    return Volume(inputs, np.eye(4) if affine is None else affine, np.eye(4), shape or tuple(inputs.shape[1:]))


def label(inputs: Volume, net: torch.nn.Module, sinks: Any = (), **given: Any) -> Any:
    settings = SlidingWindow(**{"precision": "fp32", **given})
    (found,), notes = WindowRunner(net, settings=settings, device=CPU)([inputs], sinks=[sinks])
    assert notes == ()
    return found


class Logits:
    """A sink that keeps all."""

    def start(self, classes: int, shape: tuple[int, ...]) -> None:
        self.values = np.full((classes, *shape), np.nan)

    def put(self, where: tuple[slice, ...], logits: torch.Tensor) -> None:
        self.values[(slice(None), *where)] = logits.numpy()

    def finish(self) -> None:
        assert not np.isnan(self.values).any()


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    dims = draw(st.sampled_from([2, 3, 3]))
    shape = draw(st.tuples(*[st.integers(1, 15)] * dims))
    native = draw(st.tuples(*[st.integers(1, 15)] * dims))
    order, signs = draw(st.permutations(range(dims))), draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * dims))
    affine = np.eye(4)
    affine[:dims, :dims] = 0
    for axis in range(dims):
        scale = draw(st.sampled_from([0.5, 1.0, 1.7]))
        affine[order[axis], axis] = signs[axis] * scale
        affine[order[axis], 3] = (shape[axis] - 1) * scale if signs[axis] < 0 else draw(st.sampled_from([-0.3, 0, 2]))
    return {
        "shape": shape,
        "native": native,
        "affine": affine,
        "roi_size": draw(st.tuples(*[st.integers(1, 9)] * dims)),
        "overlap": draw(st.sampled_from([0.0, 0.25, 0.5, 0.8])),
        "mode": draw(st.sampled_from(["gaussian", "constant"])),
        "sw_batch_size": draw(st.integers(1, 4)),
    }


@given(cases(), st.sampled_from([1, 300, 1 << 26]))
@settings(max_examples=150, deadline=None)
def test_slabs_are_the_full_volume_method(case: dict[str, Any], values_at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.inference.stream.BLOCK_VALUES", values_at_once)
        compare_with_the_full_volume_method(case)


def compare_with_the_full_volume_method(case: dict[str, Any]) -> None:
    shape, native, affine = case["shape"], case["native"], case["affine"]
    options = {name: case[name] for name in ("roi_size", "overlap", "mode", "sw_batch_size")}
    net, inputs = network(len(shape)), noise(1, *shape)
    with torch.inference_mode():
        full = sliding_window_inference(
            inputs[None], options["roi_size"], 2, net, overlap=options["overlap"], mode=options["mode"]
        )[0]
    whole = Logits()
    expected = restore_labels(full, affine=affine, native_affine=np.eye(4), native_shape=native, sinks=[whole])
    sink = Logits()
    found = label(volume(inputs, affine, native), net, [sink], **options).labels
    np.testing.assert_allclose(sink.values, whole.values, rtol=1e-4, atol=1e-5)
    first, second = np.sort(whole.values, axis=0)[[-1, -2]]
    clear = first - second > 1e-4
    np.testing.assert_array_equal(found[clear], expected[clear])
    np.testing.assert_array_equal(label(volume(inputs, affine, native), net, **options).labels[clear], found[clear])


ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def test_all_48_orientations_give_the_same_anatomy(tmp_path: Path) -> None:
    """One image stored in every orientation, reoriented by the bundle's own transform: the same mask each time."""
    from monai.transforms import Orientationd

    shape = (9, 7, 8)
    anatomy = noise(*shape)
    stored: dict[str, Any] = {}

    def loading(data: Any) -> dict[str, Any]:
        return {"image": stored[data["image"]]}

    segmenter = Segmenter(
        network=network(3),
        loading=[loading],
        preprocessing=[Orientationd(keys="image", axcodes="RAS", labels=None)],
        inferer=SlidingWindow(roi_size=[6, 5, 4], precision="fp32"),
    )
    stored["RAS"] = MetaTensor(anatomy[None].clone(), affine=torch.eye(4).double())
    expected = segmenter({"image": "RAS"}).labels.array
    for number, (order, signs) in enumerate(ORIENTATIONS):
        array = anatomy.permute(order).flip([axis for axis in range(3) if signs[axis] < 0])
        affine = torch.zeros(4, 4).double()
        affine[3, 3] = 1
        for axis, world in enumerate(order):
            affine[world, axis] = signs[axis]
            affine[world, 3] = shape[world] - 1 if signs[axis] < 0 else 0
        stored[str(number)] = MetaTensor(array[None].clone(), affine=affine)
        found = segmenter({"image": str(number)}).labels.array
        back = np.flip(found, [axis for axis in range(3) if signs[axis] < 0]).transpose(np.argsort(order))
        np.testing.assert_array_equal(back, expected, err_msg=f"{order} {signs}")
    assert len(np.unique(expected)) == 3


def test_several_volumes_share_batches() -> None:
    net, inputs = network(2), noise(3, 1, 8, 6)
    runner = WindowRunner(net, settings=SlidingWindow(roi_size=[8, 6], precision="fp32", sw_batch_size=2), device=CPU)
    seen: list[int] = []
    net.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    found, _ = runner([volume(one) for one in inputs], sinks=[()] * 3)
    assert seen == [2, 1]
    for one, result in zip(inputs, found, strict=True):
        np.testing.assert_array_equal(result.labels, net(one[None])[0].argmax(0))


def test_outside_the_body_is_background_and_inside_nothing_changes() -> None:
    """The network says 1 everywhere; only the body (with its margin) is run."""
    net: Any = torch.nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([0.0, 1.0]))
    inputs = torch.zeros(1, 32, 32, 32)
    inputs[:, 8:16, 12:20, 4:28] = 1
    found = label(volume(inputs), net, roi_size=[8] * 3, foreground=Foreground(above=0.5, margin=1)).labels
    expected = np.zeros((32,) * 3, np.uint8)
    expected[7:17, 11:21, 3:29] = 1
    np.testing.assert_array_equal(found, expected)


def test_confidence_and_entropy_by_class() -> None:
    net, inputs = network(3), noise(1, 5, 6, 7)
    confidence = label(volume(inputs), net, roi_size=[5, 6, 7]).confidence
    probabilities = softmax(net(inputs[None])[0].detach().double().numpy(), axis=0)
    labels = probabilities.argmax(0)
    for each in confidence:
        chosen = labels == each.value
        assert each.voxels == chosen.sum()
        assert each.mean_confidence == pytest.approx(probabilities.max(0)[chosen].mean(), rel=1e-5)
        assert each.mean_entropy == pytest.approx(entr(probabilities).sum(0)[chosen].mean(), rel=1e-5)
    assert sum(each.voxels for each in confidence) == 5 * 6 * 7


def test_large_grids_are_sampled_wherever_the_blocks_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.inference.confidence.ALL_UP_TO_VOXELS", 0)
    confidence = label(volume(noise(1, 9, 8, 7)), network(3), roi_size=[3, 3, 3], overlap=0.3).confidence
    assert sum(each.voxels for each in confidence) == 5 * 4 * 4


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("threshold", [None, 0.2, 0.9])
def test_a_binary_bundle_may_declare_a_threshold(classes: int, threshold: float | None) -> None:
    net, inputs = network(3, classes), 8 * noise(1, 6, 6, 6)
    logits = net(inputs[None])[0].detach()
    foreground = torch.sigmoid(logits[0] if classes == 1 else logits[1] - logits[0])
    found = label(volume(inputs), net, roi_size=[6] * 3, threshold=threshold).labels
    np.testing.assert_array_equal(found, foreground.numpy() > (threshold or 0.5))
    assert 0 < found.mean() < 1


@pytest.mark.parametrize("classes", [1, 2])
def test_a_threshold_decides_labels_and_leaves_the_probabilities_as_they_are(classes: int) -> None:
    net, inputs, sink = network(3, classes), 8 * noise(1, 6, 6, 6), Logits()
    logits = net(inputs[None])[0].detach()
    expected = np.concatenate([np.zeros((1, 6, 6, 6)), logits]) if classes == 1 else logits.numpy()
    found = label(volume(inputs), net, sinks=[sink], roi_size=[6] * 3, threshold=0.9).labels
    np.testing.assert_allclose(softmax(sink.values, axis=0), softmax(expected, axis=0), atol=1e-6)
    np.testing.assert_array_equal(found, softmax(expected, axis=0)[1] > 0.9)
    assert 0 < found.sum() < (softmax(expected, axis=0)[1] > 0.5).sum()


@pytest.mark.parametrize("at_once", [1, 3])
def test_mirrored_copies_are_averaged(at_once: int) -> None:
    net, inputs = network(3), noise(1, 6, 7, 8)
    with torch.inference_mode():
        copies = [net(inputs[None].flip(axes)).flip(axes) for axes in ([], [2], [4], [2, 4])]
    sink, mirror = Logits(), Mirror(axes=[0, 2])
    label(volume(inputs), net, [sink], roi_size=[6, 7, 8], tta=True, mirror=mirror, sw_batch_size=at_once)
    np.testing.assert_allclose(sink.values, torch.stack(copies).mean(0)[0], rtol=1e-4, atol=1e-5)


def test_labels_that_are_mirror_images_change_places() -> None:
    """A network that says 1 in the lower and 2 in the upper half of the first axis, whatever the image."""

    class Sides(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(x), 3, *x.shape[2:])
            logits[:, 1, : x.shape[2] // 2] = logits[:, 2, x.shape[2] // 2 :] = 1
            return logits

    expected = np.repeat([1, 1, 2, 2], 4).reshape(4, 2, 2)
    mirror = Mirror(axes=[0, 1], swaps={0: [[1, 2]]})
    sink = Logits()
    found = label(volume(noise(1, 4, 2, 2)), Sides(), [sink], roi_size=[4, 2, 2], tta=True, mirror=mirror)
    np.testing.assert_array_equal(found.labels, expected)
    assert sink.values.max() == pytest.approx(1.0)


def test_augmentation_without_axes_is_refused() -> None:
    with pytest.raises(BundleError, match=r"no `mirror` .* leave tta out, or declare inferer::mirror"):
        SlidingWindow(roi_size=[4], tta=True)


def test_a_threshold_for_several_classes_is_refused() -> None:
    with pytest.raises(BundleError, match=r"a threshold of 0\.9 for 3 classes; expected background and one foreground"):
        label(volume(noise(1, 6, 6, 6)), network(3), roi_size=[6] * 3, threshold=0.9)


def test_a_mirror_of_labels_that_the_network_does_not_have_is_refused() -> None:
    mirror = Mirror(axes=[0], swaps={0: [[1, 9]]})
    with pytest.raises(BundleError, match=r"swaps; got \[1, 9\]; expected labels below 3"):
        label(volume(noise(1, 6, 6, 6)), network(3), roi_size=[6] * 3, tta=True, mirror=mirror)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"axes": [0, 0]}, {"axes": [3]}, {"axes": [1], "swaps": {0: [[1, 2]]}}),
        {"axes": [0], "swaps": {0: [[1, 2, 3]]}},
    ],
    ids=str,
)
def test_a_mirror_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="mirror"):
        Mirror(**wrong)


class Hungry(torch.nn.Module):
    """Runs out of memory above some windows at once, in the way given."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        self.most, self.error, self.inner = most, error, network(3)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        if len(windows) > self.most:
            raise self.error
        result: torch.Tensor = self.inner(windows)
        return result


REAL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


OF_CUDA = RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")
OF_CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), REAL, OF_CUDA, OF_CUBLAS],
    ids=["Python", "torch on a GPU", "torch on a CPU", "CUDA", "cuBLAS"],
)
def test_out_of_memory_goes_on_with_fewer_windows_and_says_so(error: Exception) -> None:
    inputs, options = volume(noise(1, 12, 12, 12)), SlidingWindow(roi_size=[6] * 3, precision="fp32", sw_batch_size=8)
    (found,), notes = WindowRunner(Hungry(2, error), settings=options, device=CPU)([inputs], sinks=[()])
    assert notes == tuple(f"out of memory on cpu with {n} window(s) at once: done again with less" for n in (8, 4))
    np.testing.assert_array_equal(found.labels, label(inputs, network(3), roi_size=[6] * 3).labels)


def test_an_allocation_that_really_fails_counts_as_out_of_memory() -> None:
    class Greedy(Hungry):
        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            if len(windows) > 1:
                torch.empty(1 << 60, dtype=torch.uint8)
            result: torch.Tensor = self.inner(windows)
            return result

    options = SlidingWindow(roi_size=[6] * 3, precision="fp32", sw_batch_size=2)
    _, notes = WindowRunner(Greedy(1, MemoryError()), settings=options, device=CPU)(
        [volume(noise(1, 12, 6, 6))], sinks=[()]
    )
    assert len(notes) == 1


@pytest.mark.parametrize(("most", "error"), [(0, MemoryError("all")), (1, RuntimeError("shapes differ"))], ids=str)
def test_what_cannot_be_helped_is_raised(most: int, error: Exception) -> None:
    options = SlidingWindow(roi_size=[6] * 3, precision="fp32", sw_batch_size=2)
    with pytest.raises(type(error), match=str(error)):
        WindowRunner(Hungry(most, error), settings=options, device=CPU)([volume(noise(1, 12, 12, 12))], sinks=[()])


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch counts on a GPU: nothing taken, 1000 bytes taken at most, 3000 free."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 1000)


@pytest.mark.usefixtures("pretended_gpu")
def test_a_gpu_that_cannot_hold_one_window_is_no_reason_to_fail_before_the_cpu_was_tried() -> None:
    """The window that is run to measure memory may be the one that does not fit."""
    settings = SlidingWindow(roi_size=[6] * 3, precision="fp32", sw_batch_size="auto")
    one = volume(noise(1, 12, 12, 12))
    assert WindowRunner(Hungry(0, OF_CUDA), settings=settings, device=CPU)._measured(one) == 1
    with pytest.raises(RuntimeError, match="shapes differ"):
        WindowRunner(Hungry(0, RuntimeError("shapes differ")), settings=settings, device=CPU)._measured(one)


def test_the_copy_for_the_cpu_is_the_network_and_shares_nothing_with_it() -> None:
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.BatchNorm3d(1), torch.nn.Conv3d(1, 1, 1)).eval()
    net[2].weight = net[0].weight  # one tensor in two places stays one
    copied, window = _copied(net, CPU), noise(1, 1, 3, 3, 3)
    assert torch.equal(copied(window), net(window))
    assert copied[2].weight is copied[0].weight
    taken = {values.data_ptr() for values in net.state_dict().values()}
    assert taken.isdisjoint(values.data_ptr() for values in copied.state_dict().values())


@pytest.mark.parametrize(
    ("device", "free", "expected"),
    [("cpu", 10**12, 1), ("cuda", 1000, 5), ("cuda", 150, 1), ("cuda", 10**6, 16)],
    ids=["cpu", "half of the free memory", "never none", "bounded"],
)
def test_windows_at_once_by_memory(device: str, free: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free, 10**12))
    assert windows_at_once(torch.device(device), bytes_per_window=100) == expected


def test_larger_windows_are_taken_where_the_bundle_allows() -> None:
    seen: list[tuple[int, ...]] = []
    net = network(3)
    net.register_forward_pre_hook(lambda _module, given: seen.append(tuple(given[0].shape[2:])))
    label(volume(noise(1, 20, 10, 8)), net, roi_size=[8] * 3, window_voxels=20 * 12 * 8, window_multiple=4)
    assert seen == [(20, 12, 8)]
