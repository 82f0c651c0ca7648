"""Import OpenVINO without its telemetry, and configure its CPU device."""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import torch

_TELEMETRY = "openvino_telemetry"

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""Dtype of a pipeline -> precision of OpenVINO."""


def import_openvino() -> Any:
    """Import OpenVINO. Without this function, `import openvino` sends usage data over the network."""
    if "openvino" not in sys.modules:
        with _without_module(_TELEMETRY):
            importlib.import_module("openvino")
    return sys.modules["openvino"]


@cache
def openvino_core() -> Any:
    """Return the `openvino.Core` of this process, which is never released.

    The first compilation of a core replaces the stack on which the signal handlers of the calling thread run (Linux).
    When the last core is released, this stack is unmapped, and the next signal, such as Ctrl-C, ends the process.
    """
    return import_openvino().Core()


def version() -> str:
    """Return the version of OpenVINO, such as 2026.4.1."""
    return str(import_openvino().__version__).split("-", 1)[0]


@contextlib.contextmanager
def _without_module(name: str) -> Iterator[None]:
    """Make the import of a module fail within the block. OpenVINO supports that the package is missing."""
    before: ModuleType | None = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


def compile_settings(dtype: str) -> Mapping[str, Any]:
    """Return the settings with which a model is compiled for the CPU.

    The precision is set explicitly, because OpenVINO selects bf16 for fp32 models on some CPUs. Threads are not pinned:
    two processes would use the same core. The results are bit-identical for the same number of threads.

    Args:
        dtype: dtype of the pipeline, fp32 or bf16.
    """
    return {
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
