"""Isolate each test: one torch thread, no network, temporary user folders, an empty working directory."""

import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest

# a slow machine must not fail a test
hypothesis.settings.register_profile("artgen", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("artgen")

# a background job of a shell ignores Ctrl-C, and child processes inherit this
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # nohup ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
for name in ("SIGALRM", "SIGUSR1"):  # a late signal of a test must not end pytest
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["ARTGEN_HISTORY"] = "off"  # fixtures of a session run before `_temporary_user_folders`

if os.environ.get("ARTGEN_TEST_WORKER"):
    pytest_plugins = ["worker_mode"]

_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reject connections to other machines."""
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if self.family != socket.AF_UNIX and host not in _LOCAL_HOSTS:
            raise OSError(f"a test tried to connect to {host}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(autouse=True)
def _no_exit() -> Iterator[None]:
    """Let a test fail that would end pytest. Processes that a test forks can exit."""
    process_id, exit_process = os.getpid(), os._exit

    def reject(code: int) -> None:
        if os.getpid() != process_id:
            exit_process(code)
        raise AssertionError(f"os._exit({code}) was called in the process of pytest")

    os._exit = reject  # type: ignore[assignment]
    yield
    os._exit = exit_process


@pytest.fixture(autouse=True)
def _temporary_user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the configuration, the caches and the working directory to a temporary folder."""
    home = tmp_path / "home"
    if "worker_mode" in sys.modules and sys.modules["worker_mode"].ACTIVE:
        home = sys.modules["worker_mode"].home_folder()
    home.mkdir()
    (home / "run").mkdir()
    for name, folder in {
        "HOME": home,
        "XDG_CONFIG_HOME": home / "config",
        "XDG_CACHE_HOME": home / "cache",
        "XDG_DATA_HOME": home / "data",
        "XDG_STATE_HOME": home / "state",
        "XDG_RUNTIME_DIR": home / "run",
        "HF_HOME": home / "huggingface",
    }.items():
        monkeypatch.setenv(name, str(folder))
    for name in [name for name in os.environ if name.startswith(("ARTGEN_", "HF_HUB_", "HF_TOKEN"))]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    working_directory = tmp_path / "work"
    working_directory.mkdir()
    monkeypatch.chdir(working_directory)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Use one thread: tiny models run faster, and the results are reproducible."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of the tiny models by architecture."""
    import torch

    torch.set_num_threads(1)
    import tiny_models

    folders = tiny_models.all_models(tmp_path_factory.mktemp("models"))
    # Releasing a pipeline collects garbage, which takes 0.3 s if the collector scans the imported libraries.
    gc.collect()
    gc.freeze()
    return folders


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return the folders of tiny models of many architectures by name. A folder is built at its first use."""
    import torch

    torch.set_num_threads(1)
    from tiny_zoo import Zoo

    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def sd1(models: dict[str, Path]) -> str:
    """Return the path of the tiny Stable Diffusion 1 model as text."""
    return str(models["sd1"])
