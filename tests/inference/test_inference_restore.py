"""Back to the native grid: by hand on a few voxels, and against SciPy's full-volume interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.case import Affine
from medseg.errors import GeometryError
from medseg.inference import restore, restore_labels
from medseg.inference.restore import Restoration


def placed(*scale: float, offset: tuple[float, ...] = (0, 0, 0)) -> Affine:
    affine = np.diag([*scale, *[1.0] * (4 - len(scale))])
    affine[: len(offset), 3] = offset
    return affine


def restored(logits: torch.Tensor, affine: Affine, native: Affine, shape: tuple[int, ...]) -> np.ndarray:
    return restore_labels(logits, affine=affine, native_affine=native, native_shape=shape)


def line(*foreground: float) -> torch.Tensor:
    """Logits (2, X, 1, 1): 0 for background."""
    values = torch.tensor(foreground)
    return torch.stack([torch.zeros_like(values), values])[:, :, None, None]


@pytest.mark.parametrize("shape", [(5, 4, 3), (6, 7), (1, 1, 1), (4, 1)], ids=str)
def test_on_the_same_grid_it_is_argmax(shape: tuple[int, ...]) -> None:
    logits = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    affine = placed(0.7, -0.7, 2.5, offset=(3, 4, 5))
    labels = restored(logits, affine, affine, shape)
    np.testing.assert_array_equal(labels, logits.argmax(0).numpy())
    assert labels.dtype == np.uint8


def test_two_voxels_become_four_by_hand() -> None:
    """Centres of 1 mm voxels 0..3 lie at -0.25, 0.25, 0.75, 1.25 of a grid of 2 mm voxels with the same outer faces."""
    coarse, fine = placed(2, 1, 1, offset=(0.5, 0, 0)), placed(1, 1, 1)
    # interpolated: -1, -1 + 0.25 d, -1 + 0.75 d, b, with d = b + 1
    for b, expected in ((0.2, [0, 0, 0, 1]), (0.4, [0, 0, 1, 1]), (2.9, [0, 0, 1, 1]), (3.1, [0, 1, 1, 1])):
        assert restored(line(-1.0, b), coarse, fine, (4, 1, 1)).ravel().tolist() == expected, b


def test_four_voxels_become_two_by_hand() -> None:
    coarse, fine = placed(2, 1, 1, offset=(0.5, 0, 0)), placed(1, 1, 1)
    assert restored(line(-1.0, 0.5, 3.0, -2.0), fine, coarse, (2, 1, 1)).ravel().tolist() == [0, 1]


def test_outside_the_networks_grid_is_background() -> None:
    """A crop of voxels 3..5 of 9: the rest is background although the network sees foreground up to the edge."""
    logits = line(1.0, 1.0, 1.0)
    labels = restored(logits, placed(1, 1, 1, offset=(3, 0, 0)), placed(1, 1, 1), (9, 1, 1))
    assert labels.ravel().tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    nowhere = restored(logits, placed(1, 1, 1, offset=(30, 0, 0)), placed(1, 1, 1), (9, 1, 1))
    assert not nowhere.any()


def test_a_thick_native_slice_that_the_grid_touches_is_inside_and_the_next_is_not() -> None:
    """Native slices of 5 mm at 0, 5, 10, 15; the network's 1 mm voxels 2..12 touch 0 to 10 (-2.5 to 12.5 mm)."""
    labels = restored(line(*[1.0] * 11), placed(1, 1, 1, offset=(2, 0, 0)), placed(5, 1, 1), (4, 1, 1))
    assert labels.ravel().tolist() == [1, 1, 1, 0]


def test_padding_of_the_network_is_cut_off() -> None:
    logits = line(1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0)
    labels = restored(logits, placed(1, 1, 1, offset=(-2, 0, 0)), placed(1, 1, 1), (3, 1, 1))
    assert labels.ravel().tolist() == [1, 0, 1]


def test_axes_that_run_the_other_way_and_in_another_order_by_hand() -> None:
    """Network axes are native (y, x) with y mirrored."""
    logits = torch.zeros(2, 3, 2)
    logits[1] = torch.tensor([[1, -1], [-1, -1], [-1, 1]])
    native_from_network = np.array([[0, 1, 0, 0], [-1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    labels = restored(logits, native_from_network, np.eye(4), (2, 3))
    assert labels.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_more_than_256_classes_need_two_bytes() -> None:
    logits = torch.zeros(300, 2, 1, 1)
    logits[299, 0], logits[256, 1] = 1, 1
    labels = restored(logits, np.eye(4), np.eye(4), (2, 1, 1))
    assert labels.dtype == np.uint16
    assert labels.ravel().tolist() == [299, 256]
    assert restored(logits[:256], np.eye(4), np.eye(4), (2, 1, 1)).dtype == np.uint8


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [2.0, 30.0, 45.0, 93.0])
def test_a_turned_grid_is_refused(axis: str, degrees: float) -> None:
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    with pytest.raises(GeometryError, match=r"turned against the image's; got .* axes that are parallel; take rot"):
        restored(torch.zeros(2, 20, 20, 20), turned, np.eye(4), (20, 20, 20))


def test_a_skew_that_moves_voxels_is_refused_also_beside_thick_slices() -> None:
    """0.004 of a voxel in x for each of 100 slices: 0.4 voxels at the last; beside a scale of 5 no small number."""
    skewed = placed(1, 1, 5)
    skewed[0, 2] = 0.004
    with pytest.raises(GeometryError, match="turned"):
        restored(torch.zeros(2, 4, 4, 500), np.eye(4), skewed, (4, 4, 100))


def test_rounded_direction_cosines_are_no_turn() -> None:
    exact = np.eye(4)
    exact[:3, :3] = Rotation.from_euler("xyz", [8, -5, 12], degrees=True).as_matrix()
    rounded = np.round(exact, 4)
    logits = torch.randn(2, 200, 9, 7, generator=torch.Generator().manual_seed(1)).cumsum(1)
    labels = restored(logits, exact, rounded, (200, 9, 7))
    assert np.mean(labels != logits.argmax(0).numpy()) < 0.01


@pytest.mark.parametrize("values_at_once", [1, 200, 10**9])
@pytest.mark.parametrize("layers", [2, 3, 4, 6])
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 7)], ids=str)
@pytest.mark.parametrize("flip", [1, -1])
def test_the_result_does_not_depend_on_the_blocks(
    layers: int, shape: tuple[int, ...], flip: int, values_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of some layers, neighbours sharing one, along the slowest axis."""
    monkeypatch.setattr(restore, "BLOCK_VALUES", values_at_once)
    logits = torch.randn(3, *[6] * len(shape), generator=torch.Generator().manual_seed(2))
    affine = placed(*[flip * 1.6] * len(shape), offset=(0.3 if flip > 0 else 7.1,) * len(shape))
    whole = restored(logits, affine, np.eye(4), shape)
    restoration = Restoration(affine=affine, native_affine=np.eye(4), shape=logits.shape[1:], native_shape=shape)
    restoration.start(3)
    turned = logits.permute(0, *(1 + axis for axis in restoration.axes))
    for first in range(0, 5, layers - 1):
        block = turned[:, first : first + layers]
        restoration.put(block, (first, *[0] * (len(shape) - 1)))
    np.testing.assert_array_equal(restoration.finish(), whole)
    assert len(np.unique(whole)) == 3


class Collected:
    """A sink that keeps what it is given, and counts how often each voxel came."""

    def start(self, classes: int, shape: tuple[int, ...]) -> None:
        self.logits, self.times = np.full((classes, *shape), np.nan), np.zeros(shape, int)

    def put(self, where: tuple[slice, ...], logits: torch.Tensor) -> None:
        self.logits[(slice(None), *where)] = logits.numpy()
        self.times[where] += 1

    def finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize("values_at_once", [1, 300, 10**9])
def test_a_sink_gets_every_voxel_once_and_the_labels_stay_the_same(
    values_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "DENSE_VALUES", values_at_once)
    logits = torch.randn(3, 4, 5, 3, generator=torch.Generator().manual_seed(3))
    affine, shape = placed(2, 2, 2, offset=(0.5, 0.5, 2.5)), (8, 10, 9)
    sink = Collected()
    labels = restore_labels(logits, affine=affine, native_affine=np.eye(4), native_shape=shape, sinks=[sink])
    np.testing.assert_array_equal(labels, restored(logits, affine, np.eye(4), shape))
    np.testing.assert_array_equal(sink.logits.argmax(0), labels)
    assert (sink.times == 1).all()
    assert sink.finished
    # x: voxel 3 lies at (3 - 0.5) / 2 = 1.25 of the network's grid; y: 4 at 1.75; z: 5 at 1.25
    corner = logits[:, 1:3, 1:3, 1:3].double()
    by_hand = torch.einsum(
        "cxyz,x,y,z->c", corner, *(torch.tensor(w).double() for w in ([0.75, 0.25], [0.25, 0.75], [0.75, 0.25]))
    )
    np.testing.assert_allclose(sink.logits[:, 3, 4, 5], by_hand, rtol=1e-5)
    assert sink.logits[:, 0, 0, 0].tolist() == [20, -20, -20]  # z: 2.5 mm before the grid's first voxel


@st.composite
def grids(draw: st.DrawFn) -> tuple[torch.Tensor, Affine, Affine, tuple[int, ...]]:
    """Random logits on a grid that is a flipped, permuted, scaled and shifted one of a turned native grid."""
    dims = draw(st.sampled_from([2, 3]))
    sizes = st.tuples(*[st.integers(1, 7)] * dims)
    native_shape, shape = draw(sizes), draw(sizes)
    order, signs = draw(st.permutations(range(dims))), draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * dims))
    scale, shift = (draw(st.tuples(*[st.floats(*ends)] * dims)) for ends in ((0.2, 4.0), (-3.0, 8.0)))
    native_from_network = np.eye(4)
    native_from_network[:dims, :dims] = 0
    for axis in range(dims):
        native_from_network[order[axis], axis] = signs[axis] * scale[axis]
        native_from_network[axis, 3] = shift[axis]
    native = np.diag([0.7, 1.5, 4.0, 1.0])
    if dims == 3:
        native[:3, :3] = Rotation.random(random_state=draw(st.integers(0, 99))).as_matrix() @ native[:3, :3]
        native[:3, 3] = (-120.5, 33, 700)
    logits = torch.randn(3, *shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return logits, native @ native_from_network, native, native_shape


@given(grids(), st.sampled_from([1, 4]))
@settings(max_examples=200, deadline=None)
def test_it_is_the_full_volume_method(grid: tuple[torch.Tensor, Affine, Affine, tuple[int, ...]], copies: int) -> None:
    """With 3 classes and with 12, which are looked up in another way."""
    logits, affine, native, shape = grid
    logits = torch.cat([logits.roll(1 + copy, 1 + copy % len(shape)) for copy in range(copies)])
    dims, voxels = len(shape), np.indices(shape).reshape(len(shape), -1)
    homogeneous = np.concatenate([voxels, np.zeros((3 - dims, voxels.shape[1])), np.ones((1, voxels.shape[1]))])
    places = (np.linalg.inv(affine) @ native @ homogeneous)[:dims]
    full = np.stack([ndimage.map_coordinates(c, places, order=1, mode="nearest") for c in logits.double().numpy()])
    first, second = np.sort(full, axis=0)[[-1, -2]]
    labels = restored(logits, affine, native, shape).ravel()

    sizes = np.array(logits.shape[1:])[:, None]
    within = ((places > -0.5) & (places < sizes - 0.5)).all(axis=0)
    clear = within & (first - second > 1e-4)
    np.testing.assert_array_equal(labels[clear], full.argmax(axis=0)[clear])

    linear = np.abs((np.linalg.inv(affine) @ native)[:dims, :dims])  # half a native voxel, on the network's axes
    reach = 0.5 + np.maximum(linear.max(axis=1) / 2, 0.25)[:, None] + 1e-5
    beyond = ((places < -reach) | (places > sizes - 1 + reach)).any(axis=0)
    assert not labels[beyond].any()
