"""Compile models of OpenVINO for the CPU, run them, and store compiled models."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from artgen.engine.acceleration.openvino.arguments import Structure, restore, without_half
from artgen.engine.acceleration.openvino.convert import output_structure
from artgen.engine.acceleration.openvino.library import compile_settings, import_openvino, openvino_core

MAX_STORED_BYTES = 512 << 20
"""Largest size of the weights of a module whose compiled models are cached. For the bundled model, reading a compiled
model takes 0.4 s instead of 0.9 s; for the UNet of Stable Diffusion 1.5, it takes longer than compiling it."""


@dataclass
class Compiled:
    """Store a compiled model.

    Attributes:
        model: `openvino.CompiledModel`.
        outputs: structure of the outputs.
        data: memory of a model that was read from a file; the model uses it.
        last_call: number of the pipeline call that used the model last.
    """

    model: Any
    outputs: Structure
    data: np.ndarray | None = None
    last_call: int = 0

    def __post_init__(self) -> None:
        """Create the inference request."""
        self._request = self.model.create_infer_request()

    @property
    def precision(self) -> str:
        """Return the precision of the computation: f32 or bf16."""
        return str(self.model.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def infer(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Return the output for the tensors of a call. The tensors of the output have memory of their own."""
        inputs = [tensor.detach().contiguous().numpy() for tensor in without_half(tensors)]
        results = self._request.infer(inputs, share_inputs=True, share_outputs=True)
        return restore(self.outputs, [torch.tensor(results[i]) for i in range(len(results))])

    def export(self, path: Path) -> None:
        """Write the model with the suffix `.blob` for a path without a suffix.

        Raises:
            OSError: the file cannot be written.
        """
        content = self.model.export_model()
        path.with_suffix(".blob").write_bytes(content if isinstance(content, bytes) else content.getbuffer())


def compile_model(model: Any, shapes: list[list[int]] | None, dtype: str) -> Compiled:
    """Compile a converted model for the CPU.

    Args:
        model: `openvino.Model`, which is changed.
        shapes: shapes of the inputs, with which models are faster (1.4 times for the UNet of the bundled model); None
            for inputs of any shape.
        dtype: dtype of the pipeline: fp32 or bf16.
    """
    outputs = output_structure(model)
    if shapes is not None:
        model.reshape(dict(enumerate(shapes)))
    return Compiled(openvino_core().compile_model(model, "CPU", compile_settings(dtype)), outputs)


def import_compiled(path: Path, outputs: str, dtype: str) -> Compiled:
    """Read a compiled model.

    Args:
        path: file that `Compiled.export` has written, with `compilation_properties` of this process.
        outputs: structure of the outputs as JSON.
        dtype: dtype of the pipeline: fp32 or bf16.
    """
    openvino, data = import_openvino(), np.fromfile(path, np.uint8)
    model = openvino_core().import_model(openvino.Tensor(data), "CPU", compile_settings(dtype))
    return Compiled(model, json.loads(outputs), data)


def compilation_properties(dtype: str) -> dict[str, Any]:
    """Return the properties of the CPU and the settings that affect a compiled model."""
    core = openvino_core()
    names = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    return {**compile_settings(dtype), **{name: core.get_property("CPU", name) for name in names}}
