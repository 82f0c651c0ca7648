"""Query CUDA devices and available memory without importing torch."""

import contextlib
import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def cuda_device_count() -> int:
    """Return the number of CUDA devices for the installed torch; 0 without a driver or with a CPU build of torch.

    The function calls NVIDIA's driver library directly. This takes milliseconds; importing torch takes a second.
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


def cuda_memory_bytes() -> int | None:
    """Return the total memory of the first CUDA device; None without a device that the installed torch supports."""
    if not cuda_device_count():
        return None
    library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    device, num_bytes = ctypes.c_int(0), ctypes.c_size_t(0)
    if library.cuDeviceGet(ctypes.byref(device), 0) or library.cuDeviceTotalMem_v2(ctypes.byref(num_bytes), device):
        return None
    return num_bytes.value


def torch_cuda_version() -> str | None:
    """Return the CUDA version of the torch build from its `version.py`; None for a CPU build or without torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text("utf-8")
    except OSError:
        return None
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return match.group(1) if match else None


def has_mps() -> bool:
    """Return whether the machine is a Mac with a GPU that torch supports (Apple silicon)."""
    import platform

    return sys.platform == "darwin" and platform.machine() == "arm64"


def available_ram() -> int | None:
    """Return the bytes of main memory that this process can use: available memory plus the memory it already uses.

    The limits of the process's control groups are applied. Return None on systems without Linux's /proc files.
    """
    try:
        free = _read_kib(MEMINFO_FILE, "MemAvailable")
        own = _read_kib(PROCESS_STATUS_FILE, "RssAnon")
    except (OSError, ValueError, KeyError):
        return None
    return min((free, *_cgroup_limits())) + own


def resident_bytes() -> int | None:
    """Return the bytes of main memory that this process uses; None on systems without Linux's /proc files."""
    try:
        return _read_kib(PROCESS_STATUS_FILE, "VmRSS")
    except (OSError, ValueError, KeyError):
        return None


def total_ram() -> int | None:
    """Return the bytes of main memory of the machine; None if the system does not report them."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_kib(file: Path, name: str) -> int:
    """Return one value of a /proc table, in bytes."""
    table = dict(line.split(":", 1) for line in file.read_text("utf-8").splitlines() if ":" in line)
    return int(table[name].split()[0]) * 1024


MEMINFO_FILE = Path("/proc/meminfo")
PROCESS_STATUS_FILE = Path("/proc/self/status")
CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_CGROUPS_FILE = Path("/proc/self/cgroup")
CGROUP_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
CGROUP_V2 = ("memory.max", "memory.current", "inactive_file")


def _cgroup_limits() -> Iterator[int]:
    """Yield the available bytes of each control group with a limit. Cached files do not count as used."""
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
    # An unlimited group has the limit `max`. Files can be missing. A container sees its own group as the root.
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit, used = (int((folder / name).read_text("utf-8")) for name in (limit_file, usage_file))
        table = dict(line.split() for line in (folder / "memory.stat").read_text("utf-8").splitlines())
        yield max(0, limit - used + int(table[cache_key]))
