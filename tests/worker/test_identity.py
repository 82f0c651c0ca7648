"""Test what must be equal in a client and in the worker."""

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from artgen.worker_process.client import identity
from artgen.worker_process.client.identity import difference, own_identity

COMPARED = [
    "ARTGEN_STEPS",
    "ARTGEN_MODEL_FOLDERS",
    "CIVITAI_TOKEN",
    "HF_HOME",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "HUGGINGFACE_HUB_CACHE",
    "HUGGING_FACE_HUB_TOKEN",
    "TRANSFORMERS_CACHE",
    "TRANSFORMERS_VERBOSITY",
    "DIFFUSERS_VERBOSITY",
    "ACCELERATE_USE_CPU",
    "SAFETENSORS_FAST_GPU",
    "TOKENIZERS_PARALLELISM",
    "TORCH_HOME",
    "TORCHINDUCTOR_CACHE_DIR",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
    "OMP_NUM_THREADS",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "OPENBLAS_NUM_THREADS",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_VERBOSE",
    "ATEN_CPU_CAPABILITY",
    "OV_CPU",
    "OPENVINO_LOG_LEVEL",
    "TBB_NUM_THREADS",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "PYTHONPATH",
    "PYTHONHASHSEED",
    "PYTHONUTF8",
    "PYTHONIOENCODING",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
    "LANGUAGE",
    "HOME",
    "TMPDIR",
    "TEMP",
    "TMP",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "HTTP_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NETRC",
    "NUMEXPR_MAX_THREADS",
    "RAY_ADDRESS",
]
PASSED = [
    "ARTGEN_WORKER",
    "ARTGEN_MAX_LOADED",
    "ARTGEN_KEEP_ALIVE",
    "TERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "COLORTERM",
    "TERM_PROGRAM",
    "KITTY_WINDOW_ID",
    "PATH",
    "PWD",
    "OLDPWD",
    "USER",
    "LOGNAME",
    "SHELL",
    "TZ",
    "DISPLAY",
    "EDITOR",
    "PAGER",
    "SSH_TTY",
    "XDG_SESSION_ID",
    "XDG_RUNTIME_DIR",
    "XDG_VTNR",
    "DBUS_SESSION_BUS_ADDRESS",
    "WINDOWID",
    "VIRTUAL_ENV",
    "SHLVL",
    "_",
]


@pytest.mark.parametrize("name", COMPARED)
def test_variables_that_libraries_read_at_their_start_are_compared(name: str) -> None:
    before, after = own_identity({name: "a"}), own_identity({name: "b"})
    assert difference(before, after) == f"its environment variable {name} has another value"
    assert difference(before, own_identity({})) == f"its environment variable {name} has another value"
    assert difference(own_identity({}), before) == f"its environment variable {name} has another value"


@pytest.mark.parametrize("name", PASSED)
def test_other_variables_are_passed_to_the_command(name: str) -> None:
    assert difference(own_identity({name: "a"}), own_identity({})) is None


def _received(value: dict[str, Any]) -> Any:
    return json.loads(json.dumps(value))


def test_an_identity_is_equal_after_it_was_sent() -> None:
    own = own_identity({**os.environ, "HF_TOKEN": "a\udcff\n"})
    assert difference(own, _received(own)) is None


@pytest.mark.parametrize("name", own_identity({}))
def test_each_part_of_the_identity_is_compared(name: str) -> None:
    own = own_identity({"HF_HOME": "a"})
    other = _received(own)
    other[name] = {} if isinstance(other[name], dict) else "other"
    reason = difference(own, other)
    assert reason is not None
    assert reason.startswith("its ")
    del other[name]
    assert difference(own, other) is not None


def test_the_reason_contains_both_versions() -> None:
    own = own_identity({})
    other = copy.deepcopy(own)
    other["version of artgen"] = "0.0.9"
    assert difference(own, other) == f"its version of artgen is 0.0.9, not {own['version of artgen']}"


def test_no_value_of_a_variable_is_in_the_reason() -> None:
    reason = difference(own_identity({"HF_TOKEN": "secret-1"}), own_identity({"HF_TOKEN": "secret-2"}))
    assert "secret" not in str(reason)


@pytest.mark.parametrize("other", [None, 3, [], "x", {}, {"version of artgen": {}}, {"environment variables": []}])
def test_an_invalid_identity_is_different(other: Any) -> None:
    assert difference(own_identity({}), other)


@pytest.mark.parametrize("change", ["content", "new", "removed", "time"])
def test_changed_files_of_artgen_are_a_difference(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "__pycache__").mkdir()
    file = tmp_path / "engine" / "a.py"
    file.write_text("a = 1\n")
    monkeypatch.setattr(identity, "_artgen_folder", lambda: str(tmp_path))
    before = own_identity({})
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert difference(own_identity({}), before) is None
    match change:
        case "content":
            file.write_text("a = 2 \n")
        case "new":
            (tmp_path / "b.py").write_text("")
        case "removed":
            file.unlink()
        case _:
            os.utime(file, (1, 1))
    assert difference(own_identity({}), before) == "its files of artgen are different"


@pytest.mark.parametrize("name", ["torch-2.0.dist-info", "a.pth", "torch.egg-info", "artgen.egg-link", "shadow.py"])
def test_installed_packages_are_a_difference(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), str(tmp_path / "missing")])
    before = own_identity({})
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "fox.png").write_bytes(b"")
    assert difference(own_identity({}), before) is None
    (tmp_path / name).mkdir()
    assert difference(own_identity({}), before) == "its installed packages are different"


def test_the_folder_of_the_program_is_not_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = own_identity({})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path[1:]])
    assert difference(own_identity({}), before) is None


def test_the_order_of_the_package_folders_is_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = own_identity({})
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert difference(own_identity({}), before) == "its installed packages are different"
