"""What this machine can do, found out without importing torch."""

import contextlib
import ctypes
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def cuda_device_count() -> int:
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


def available_ram() -> int | None:
    """Bytes of main memory that this process may have: what is free or can be made so, and what it has taken already.

    Within the limits of its control groups. None where the system does not say so in Linux' way.
    """
    try:
        free = _read_kib("/proc/meminfo", "MemAvailable")
        own = _read_kib("/proc/self/status", "RssAnon")
    except (OSError, ValueError, KeyError):
        return None
    return min((free, *_cgroup_limits())) + own


def _read_kib(file: str, name: str) -> int:
    """A line of a table of the kernel's, in bytes."""
    table = dict(line.split(":", 1) for line in Path(file).read_text("utf-8").splitlines() if ":" in line)
    return int(table[name].split()[0]) * 1024


CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_CGROUPS_FILE = Path("/proc/self/cgroup")
CGROUP_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
CGROUP_V2 = ("memory.max", "memory.current", "inactive_file")


def _cgroup_limits() -> Iterator[int]:
    """What each control group that limits this process leaves it; files that are cached do not count as taken."""
    with contextlib.suppress(OSError):
        for line in PROCESS_CGROUPS_FILE.read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            root, names = (CGROUP_ROOT / "memory", CGROUP_V1) if controllers else (CGROUP_ROOT, CGROUP_V2)
            own = root / path.lstrip("/")
            for folder in (own, *own.parents):
                yield from _cgroup_available(folder, *names)
                if folder == root:
                    break


def _cgroup_available(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> Iterator[int]:
    # A group without a limit says so in a word, a file may be missing, and a container shows its own group as the root.
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit, used = (int((folder / name).read_text("utf-8")) for name in (limit_file, usage_file))
        table = dict(line.split() for line in (folder / "memory.stat").read_text("utf-8").splitlines())
        yield max(0, limit - used + int(table[cache_key]))


def default_model() -> str:
    """`sd15` where CUDA is at hand, else the bundled `tiny`."""
    return "sd15" if cuda_device_count() else "tiny"
