"""Describe what must be equal in a client and in the worker, so that a command has the same result in both.

Python and the libraries read all of this once, when they start. The worker describes itself when it starts, before it
imports the libraries, so that a later change of the files or of the packages is a difference.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from artgen._version import __version__
from artgen.worker_process.client.settings import WORKER_VARIABLES
from artgen.worker_process.protocol import VERSION

_COMPARED_PREFIXES = (
    # artgen, and the Python libraries
    *("ARTGEN_", "CIVITAI_", "HF_", "HUGGING", "TRANSFORMERS_", "DIFFUSERS_", "ACCELERATE_", "SAFETENSORS_"),
    *("TOKENIZERS_", "PEFT_", "BITSANDBYTES_", "BNB_", "TYPER_", "_TYPER_", "PIL", "NUMPY_", "NPY_"),
    *("NUMEXPR_", "RAY_"),
    # torch, OpenVINO, and the libraries of devices
    *("TORCH", "PYTORCH_", "ATEN_", "TRITON_", "XLA_", "OPENVINO_", "OV_", "CUDA", "CUDNN_", "CUBLAS", "NVIDIA_"),
    *("NCCL_", "HIP_", "HSA_", "ROCR_", "ROCM", "MIOPEN_", "AMD_", "GPU_", "SYCL_", "ZE_", "ONEAPI_", "MTL_", "METAL_"),
    # threads and numbers on the CPU
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "DNNL_", "ONEDNN_", "TBB_", "ATLAS_"),
    # Python, the loader, the memory of the C library, and the language
    *("PYTHON", "LD_", "DYLD_", "GLIBC_", "MALLOC_", "Malloc", "MIMALLOC_", "JEMALLOC_", "TCMALLOC_", "LC_", "LANG"),
    # certificates
    *("SSL_", "OPENSSL_", "REQUESTS_CA", "CURL_CA"),
)  # fmt: skip
"""Prefixes of the environment variables that Python, the loader or a library reads when it starts."""

_COMPARED_SUFFIXES = ("_PROXY", "_proxy")

_COMPARED_VARIABLES = frozenset(
    {"HOME", "TMPDIR", "TEMP", "TMP", "NETRC", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"}
)

_PACKAGE_SUFFIXES = (".dist-info", ".egg-info", ".egg-link", ".pth", ".py", ".so")
"""Entries of a folder of packages that an installation adds or replaces."""

_CONTROL_GROUP_FILES = ("memory.max", "memory.high", "cpu.max", "memory.limit_in_bytes", "cpu.cfs_quota_us")
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_COMPARED_STATUS_PREFIXES = ("Cap", "NoNewPrivs", "Seccomp:")


def own_identity(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the identity of this process: JSON values by a name that a person can read.

    Args:
        environment: environment variables with which this process started.
    """
    return {
        "version of the protocol": VERSION,
        "version of artgen": __version__,
        "folder of artgen": _artgen_folder(),
        "files of artgen": sorted(_file_times(_artgen_folder())),
        "Python interpreter": _interpreter(),
        "options of Python": [list(sys.flags), sorted(map(str, sys._xoptions.items())), list(sys.warnoptions)],
        "installed packages": [[folder, sorted(_package_times(folder))] for folder in _package_folders()],
        "environment variables": {name: value for name, value in environment.items() if _is_compared(name)},
        "user": [os.getuid(), os.geteuid()],
        "groups": [os.getgid(), os.getegid(), sorted(os.getgroups())],
        "resource limits": _resource_limits(),
        "limits of control groups": list(_control_group_limits()),
        "CPU affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "root folder": list(_file_id("/")),
        "namespaces": {name: list(_file_id(f"/proc/self/ns/{name}")) for name in _NAMESPACES},
        "privileges": _privileges(),
        "devices": _devices(),
    }


def difference(own: Mapping[str, Any], other: Any) -> str | None:
    """Return why a command cannot use the worker, to continue "Not using the worker: "; None if nothing differs.

    Args:
        own: identity of the client.
        other: identity of the worker.
    """
    if not isinstance(other, dict):
        return "it sends no identity"
    name = next((name for name in (*own, *other) if own.get(name) != other.get(name)), None)
    if name is None:
        return None
    if name in ("version of artgen", "version of the protocol"):
        return f"its {name} is {other.get(name)}, not {own.get(name)}"
    if name == "environment variables" and isinstance(other.get(name), dict):
        before, now = other[name], own.get(name, {})
        variable = next(each for each in (*now, *before) if before.get(each) != now.get(each))
        return f"its environment variable {variable} has another value"
    if name == "resource limits" and isinstance(other.get(name), dict):
        limit = next(each for each in own.get(name, {}) if own[name][each] != other[name].get(each))
        return f"its resource limit {limit} is different"
    verb = "are" if name.split(" of ")[0].endswith("s") else "is"
    return f"its {name} {verb} different"


def _artgen_folder() -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120


def _interpreter() -> list[Any]:
    path = os.path.realpath(sys.executable)
    return [path, _time_of(path), sys.version, sys.prefix, sys.base_prefix]


def _file_times(folder: str) -> Iterator[str]:
    """Yield the path, the time of the last change and the size of each file of artgen, without the cache of Python."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _file_times(entry.path)
            else:
                status = entry.stat()
                yield f"{entry.path} {status.st_mtime_ns} {status.st_size}"


def _package_folders() -> list[str]:
    """Return the folders of packages: `sys.path` without the folder of the program and without Python's own folders."""
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    own = {library, f"{library}/lib-dynload", *(path for path in sys.path if path.endswith(".zip"))}
    paths = sys.path if sys.flags.safe_path else sys.path[1:]
    return [path for path in paths if path not in own]


def _package_times(folder: str) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_PACKAGE_SUFFIXES):
                yield f"{entry.name} {entry.stat().st_mtime_ns}"


def _is_compared(name: str) -> bool:
    if name in WORKER_VARIABLES:
        return False
    return name in _COMPARED_VARIABLES or name.startswith(_COMPARED_PREFIXES) or name.endswith(_COMPARED_SUFFIXES)


def _resource_limits() -> dict[str, list[int]]:
    import resource

    numbers = {name.removeprefix("RLIMIT_"): getattr(resource, name) for name in dir(resource) if "RLIMIT_" in name}
    return {name: list(resource.getrlimit(number)) for name, number in numbers.items()}


def _control_group_limits() -> Iterator[str]:
    """Yield the limits of the control groups of this process, on Linux. Containers and systemd set them."""
    for line in _read_lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        root = f"/sys/fs/cgroup/{controllers}".rstrip("/")
        folder = f"{root}{path.rstrip('/')}"
        while folder.startswith(root):
            for name in _CONTROL_GROUP_FILES:
                yield from (f"{name} {limit}" for limit in _read_lines(f"{folder}/{name}") if not _is_unlimited(limit))
            folder = folder.rpartition("/")[0]


def _is_unlimited(limit: str) -> bool:
    return limit.startswith(("max", "-1")) or len(limit) > 18  # version 1 has the limit 2^63


def _read_lines(path: str) -> list[str]:
    with contextlib.suppress(OSError), open(path, encoding="latin-1") as file:  # noqa: PTH123
        return file.read().splitlines()
    return []


def _privileges() -> list[str]:
    """Return the capabilities, the filters of system calls and the security label, on Linux."""
    lines = _read_lines("/proc/self/status")
    found = [line for line in lines if line.startswith(_COMPARED_STATUS_PREFIXES)]
    return [*found, *_read_lines("/proc/self/attr/current")]


def _devices() -> list[str]:
    """Return the NVIDIA GPUs of the machine."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir("/proc/driver/nvidia/gpus"))  # noqa: PTH208
    return []


def _file_id(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return ()
    return status.st_dev, status.st_ino


def _time_of(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime_ns  # noqa: PTH116
    return 0
