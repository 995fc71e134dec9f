"""What runs a trained network: torch, or OpenVINO where its extra is installed.

`benchmarks/backends.py` compares them, and torch.compile and ONNX Runtime, which are slower than torch's tuned twin and
therefore left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from medseg.errors import BundleError
from medseg.inference.precision import autocast, channels_last
from medseg.inference.tuned import tuned

Backend: TypeAlias = Literal["torch", "openvino"]

SHAPES_KEPT = 4
"""OpenVINO compiles a network for each shape of its input; pictures may come in many."""


def runnable(
    network: nn.Module, *, backend: Backend = "torch", device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """A loaded network as a function from windows ``(B, C, X, Y[, Z])`` to logits ``(B, K, X, Y[, Z])``.

    Parameters
    ----------
    network
        In evaluation mode, on `device`; what becomes of it later does not reach the function.
    backend
        "torch": on a CPU the network's tuned twin, elsewhere the network itself; "openvino": CPUs only.
    dtype
        Of the arithmetic: float32 or bfloat16. Logits may come in it too.

    Raises
    ------
    BundleError
        An unknown back end, one whose extra is not installed, or one that cannot run on this device.
    """
    if backend not in ("torch", "openvino"):
        raise BundleError("unknown back end", got=repr(backend), expected="torch or openvino")
    if backend == "openvino":
        return _on_openvino(network, device, dtype)
    return _on_torch(tuned(network, dtype=dtype) if device.type == "cpu" else network, device, dtype)


def _on_torch(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    laid_out: dict[int, nn.Module] = {}

    def run(windows: Tensor) -> Tensor:
        layout = channels_last(windows.ndim - 2)
        if windows.ndim not in laid_out:
            with torch.inference_mode(False):  # parameters laid out anew inside it could never be trained again
                laid_out[windows.ndim] = network.to(memory_format=layout)  # type: ignore[call-overload]
        with autocast(dtype, device):
            logits: Tensor = laid_out[windows.ndim](windows.contiguous(memory_format=layout))
        return logits

    return run


def _on_openvino(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    if device.type != "cpu":
        raise BundleError(
            "back end openvino", got=f"device {device}", expected="the CPU", next_step="add --device cpu, or leave it"
        )
    core = _openvino_core()

    @lru_cache(maxsize=SHAPES_KEPT)
    def request(shape: tuple[int, ...]) -> Any:
        return _compiled(core, network, shape, dtype).create_infer_request()

    def run(windows: Tensor) -> Tensor:
        outputs = request(tuple(windows.shape)).infer([windows.contiguous().float().numpy()])
        # A copy: the next call writes into the same memory.
        return torch.from_numpy(outputs[0].copy())

    return run


def _openvino_core() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise BundleError(
            "back end openvino",
            got="openvino is not installed",
            expected="its extra",
            next_step="python -m pip install 'medseg[openvino]'",
        ) from error
    return openvino.Core()


def _compiled(core: Any, network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    """Through the front end itself: `openvino.convert_model` would report its use to the vendor."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # What a shape decides is decided for this shape.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network.eval(), torch.zeros(shape), check_trace=False)
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # a name of its own: the model refers to it without holding it
    model = front_end.convert(front_end.load(decoder))
    model.reshape(shape)
    # The precision in words: OpenVINO's own choice is bfloat16 wherever the CPU has it.
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(model, "CPU", options)
