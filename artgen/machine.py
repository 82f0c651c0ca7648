"""What this machine can do, found out without importing torch."""

import ctypes
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path


@cache
def cuda_devices() -> int:
    """How many CUDA devices the installed torch could use; 0 without a driver or with a CPU build of torch.

    Asks NVIDIA's driver library directly, so it costs milliseconds where importing torch costs a second.
    """
    if not torch_cuda_version():
        return 0
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def torch_cuda_version() -> str | None:
    """The CUDA version torch was built for, read from its `version.py`; None for a CPU build or no torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else None


def has_mps() -> bool:
    """Whether this is a Mac whose GPU torch can use (Apple silicon)."""
    import platform

    return sys.platform == "darwin" and platform.machine() == "arm64"


def default_model() -> str:
    """`sd15` where CUDA is at hand, else the bundled `tiny`."""
    return "sd15" if cuda_devices() else "tiny"
