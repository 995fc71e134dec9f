"""Weights of another network: what is taken from a checkpoint, what is not, and what the log says of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from monai.networks.nets import DynUNet, UNet

from medseg.errors import BundleError
from medseg.networks import UNet2d
from medseg.networks.fitting import fit, with_channels
from medseg.networks.weights import IN_CHECKPOINT, load_weights, start_weights


def unet(*, inputs: int = 1, outputs: int = 2, wide: int = 4) -> UNet:
    return UNet(3, inputs, outputs, [wide, 8, 8], [2, 2], num_res_units=1, norm=("INSTANCE", {"affine": True}))


def dynunet(*, outputs: int, wide: int = 4) -> DynUNet:
    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=outputs,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[wide, 8, 8],
        norm_name=("INSTANCE", {"affine": True}),
        deep_supervision=True,
        deep_supr_num=1,
    )


def parameters(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def saved(content: object, folder: Path) -> str:
    torch.save(content, folder / "model.pt")
    return str(folder / "model.pt")


def nested(state: dict[str, torch.Tensor]) -> dict[str, object]:
    return {"epoch": 7, "state_dict": {f"module.{name}": value for name, value in state.items()}}


WRAPPED = {
    "plain": dict,
    "half precision": lambda state: {name: value.half() for name, value in state.items()},
    "state_dict, module.": nested,
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "network, compiled and parallel": lambda state: {
        "network": {f"module._orig_mod.{name}": value for name, value in state.items()}
    },
    "a run's last.pt": lambda state: {
        "network": {name: torch.zeros_like(value) for name, value in state.items()},
        "evaluated": state,
    },
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_the_checkpoints_of_others_are_taken_whole(wrapped: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained, network = unet(), unet()
    for parameter in trained.parameters():
        parameter.data = parameter.data.half().float()
    start_weights(network, path=saved(WRAPPED[wrapped](trained.state_dict()), tmp_path))
    for name, value in parameters(network).items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_safetensors_are_taken_too(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    trained, network = unet(), unet()
    safetensors.save_file(trained.state_dict(), tmp_path / "model.safetensors")
    start_weights(network, path=str(tmp_path / "model.safetensors"))
    assert torch.equal(network.model[0].residual.weight, trained.model[0].residual.weight)


@pytest.mark.parametrize(
    ("network", "trained", "head"),
    [
        (unet(outputs=4), unet(outputs=2), "model.2."),
        (dynunet(outputs=4), dynunet(outputs=2), ("output_block.", "deep_supervision_heads.")),
    ],
    ids=["UNet", "DynUNet"],
)
def test_other_labels_start_with_a_new_head_and_the_old_rest(
    network: torch.nn.Module,
    trained: torch.nn.Module,
    head: str | tuple[str, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = parameters(network)
    with caplog.at_level(logging.INFO):
        start_weights(network, path=saved(nested(trained.state_dict()), tmp_path))
    said = caplog.messages
    for name, value in parameters(network).items():
        own = before[name].shape != trained.state_dict()[name].shape
        assert torch.equal(value, before[name] if own else trained.state_dict()[name]), name
        assert own == any(line.startswith(f"  skipped  {name}: ") for line in said), name
        assert not own or name.startswith(head)
    skipped = [line for line in said if "skipped" in line]
    assert said[1].startswith(f"loaded {len(before) - len(skipped)} of {len(before)} tensors, ")
    assert said[1].endswith(' of the values ("module." taken off its names)')


def test_a_skipped_tensor_is_told_with_both_shapes() -> None:
    found = fit(
        torch.nn.Conv2d(1, 3, 1), {"weight": torch.zeros(2, 1, 1, 1), "bias": torch.zeros(3), "x": torch.ones(1)}
    )
    assert found.lines() == [
        "loaded 1 of 2 tensors, 50.0% of the values",
        "  skipped  weight: (2, 1, 1, 1) in the file, (3, 1, 1, 1) here; starts anew",
        "  not used x: in the file alone",
    ]
    assert "skipped  bias: not in the file; starts anew" in fit(torch.nn.Conv2d(1, 3, 1), {}).lines()[2]


@pytest.mark.parametrize(("theirs", "ours", "expected"), [(4, 1, [10.0]), (1, 2, [2.0, 2.0]), (2, 3, [2.0, 2.0, 2.0])])
def test_a_first_convolution_for_other_channels_answers_equal_channels_as_before(
    theirs: int, ours: int, expected: list[float]
) -> None:
    # 1 + 2 + 3 + 4 = 10 for one channel; 4 shared by two; 2 + 4 shared by three: the sum over channels stays.
    values = {4: [1.0, 2.0, 3.0, 4.0], 1: [4.0], 2: [2.0, 4.0]}[theirs]
    weight = torch.tensor(values).view(1, theirs, 1, 1)
    assert with_channels(weight, ours).flatten().tolist() == expected


def test_channels_are_adapted_where_the_image_enters_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained, network = unet(inputs=4), unet(inputs=1)
    with caplog.at_level(logging.INFO):
        start_weights(network, path=saved(trained.state_dict(), tmp_path))
    adapted = [line.split(":")[0].split()[1] for line in caplog.messages if line.startswith("  adapted")]
    assert adapted == ["model.0.conv.unit0.conv.weight", "model.0.residual.weight"]
    assert "4 input channels in the file, 1 here" in caplog.text
    image = torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(network.eval()(image), trained.eval()(image.expand(1, 4, 8, 8, 8)))


@pytest.mark.parametrize(
    "trained", [dynunet(outputs=2), unet(wide=16), UNet2d(in_channels=1, out_channels=2, base_width=4, depth=3)]
)
def test_a_file_of_another_network_is_refused_with_both_their_names(trained: torch.nn.Module, tmp_path: Path) -> None:
    wide = UNet(3, 1, 2, [4, 32, 32], [2, 2], num_res_units=1, norm=("INSTANCE", {"affine": True}))
    before = parameters(wide)
    with pytest.raises(BundleError, match=r"nearly nothing of it fits the network; got \d+ of \d+ tensors, \d\.\d%"):
        start_weights(wide, path=saved(trained.state_dict(), tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in parameters(wide).items())


def test_a_head_for_labels_of_another_meaning_is_left_out_by_name(tmp_path: Path) -> None:
    trained, network = dynunet(outputs=2), dynunet(outputs=2)
    before = parameters(network)
    start_weights(network, path=saved(trained.state_dict(), tmp_path), leave=["output_block.*"])
    assert torch.equal(network.output_block.conv.conv.weight, before["output_block.conv.conv.weight"])
    assert torch.equal(network.bottleneck.conv1.conv.weight, trained.bottleneck.conv1.conv.weight)
    with pytest.raises(BundleError, match=r"no tensors of the network fit the pattern; got 'head\.\*'; expected for"):
        start_weights(network, path=saved(trained.state_dict(), tmp_path), leave=["head.*"])
    with pytest.raises(BundleError, match=r"no weights to load; got head"):
        start_weights(network, path=None, leave=["head"])
    start_weights(network, path=IN_CHECKPOINT, leave=["output_block.*"])
    with pytest.raises(BundleError, match=r"patterns are a list; got 'output\*'; expected '\[\"output\*\"\]'"):
        start_weights(network, path=saved(trained.state_dict(), tmp_path), leave="output*")


def test_what_is_frozen_and_not_trained_before_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained, head = unet(outputs=2), ["model.2.*"]
    for path, told in ((None, 7), ("", 0), (saved(trained.state_dict(), tmp_path), 0)):
        caplog.clear()
        start_weights(unet(outputs=2), path=path, freeze=head)
        found = [line for line in caplog.messages if "stay as they were drawn at random: model.2." in line]
        assert [int(line.split()[0]) for line in found] == ([told] if told else [])
    start_weights(unet(outputs=3), path=saved(trained.state_dict(), tmp_path), freeze=head)
    assert "frozen tensors are not from trained weights" in caplog.text


class Foreign:
    """What only code of its own could read."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, "not weights alone; got an empty dict"),
        ([1, 2], "not weights alone; got a list"),
        (
            {"model": Foreign()},
            r"without running code of the file; got Unsupported global.*; save them where the file is",
        ),
        (
            {name: tensor * float("nan") for name, tensor in unet().state_dict().items()},
            r"weights that are not finite; got \d+ tensors, such as \S+; name weights of",
        ),
    ],
    ids=["no tensors", "list", "a pickled object", "not finite"],
)
def test_a_file_without_weights_is_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message):
        start_weights(unet(), path=saved(content, tmp_path))
    with pytest.raises(BundleError, match="no weights to start from; expected a file, or the name or folder"):
        start_weights(unet(), path=str(tmp_path / "absent.pt"))


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"cut short"], ids=["empty", "damaged"])
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (start_weights, load_weights):
        with pytest.raises(BundleError, match=rf"{name}: .*; got \w+"):
            read(unet(), path=str(tmp_path / name))
