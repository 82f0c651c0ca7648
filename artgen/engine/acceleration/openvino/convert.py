"""Convert a denoiser to a model of OpenVINO."""

import errno
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from artgen.engine.acceleration.openvino.arguments import Structure, flatten, restore, without_half
from artgen.engine.acceleration.openvino.library import import_openvino, openvino_core

_OUTPUTS_KEY = ["artgen", "outputs"]
"""Path of the structure of the outputs in the model's runtime information, which is saved with the model."""


def convert(denoiser: nn.Module, structure: Structure, tensors: list[torch.Tensor]) -> Any:
    """Return an `openvino.Model` that computes the output of a denoiser for the tensors in a call.

    The model shares the memory of the weights. Its inputs and outputs are fp32 where the tensors are fp16 or bf16.

    Args:
        denoiser: denoiser on the CPU. The method of its class is traced, not a method that replaces it.
        structure: structure of the keyword arguments of a call.
        tensors: tensors of the call.
    """
    import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    traced = _TracedDenoiser(denoiser, structure)
    with torch.no_grad():
        # The default check of the trace runs the denoiser twice more.
        decoder = TorchScriptPythonDecoder(
            traced, example_input=without_half(tensors), trace_kwargs={"check_trace": False}
        )
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    if len(model.inputs) != len(tensors):
        raise ValueError(f"OpenVINO found {len(model.inputs)} inputs instead of {len(tensors)}")
    model.set_rt_info(json.dumps(traced.outputs), _OUTPUTS_KEY)
    return model


def save(model: Any, path: Path) -> None:
    """Write a model for a path without a suffix. Read it again, because a file could be incomplete without an error.

    Raises:
        OSError: the model cannot be written.
    """
    try:
        import_openvino().save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
        read(path.with_suffix(".xml"))
    except RuntimeError as error:  # OpenVINO raises it for a full disk
        raise OSError(errno.EIO, "OpenVINO could not write the complete model") from error


def read(path: Path) -> Any:
    """Return the `openvino.Model` of a file. Its weights are mapped into memory."""
    return openvino_core().read_model(path)


def output_structure(model: Any) -> Structure:
    """Return the structure of the outputs of a converted model."""
    structure: Structure = json.loads(model.get_rt_info(_OUTPUTS_KEY).astype(str))
    return structure


class _TracedDenoiser(nn.Module):
    """Call a denoiser with tensors, and return the tensors of its output.

    Attributes:
        outputs: structure of the last output.
    """

    def __init__(self, denoiser: nn.Module, structure: Structure) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.outputs: Structure = {}
        self._structure = structure

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = type(self.denoiser).forward(self.denoiser, **restore(self._structure, tensors))
        found: list[torch.Tensor] = []
        self.outputs = flatten(output, "output", found)
        return without_half(found)
