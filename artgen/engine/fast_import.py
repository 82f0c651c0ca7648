"""Importing torch, transformers and diffusers, without what no picture needs.

Imports nothing else itself, so that it can come first. transformers and diffusers look for optional packages when they
are imported, and load those that they find: SciPy for the losses of object detection, the quantiles of `beta` sigmas
and one scheduler, PEFT for LoRAs. Here they take for absent what is not going to be used (None in `sys.modules`, as
Python documents it), and what may be used is loaded when it is.
"""

import contextlib
import ctypes
import importlib.abc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from artgen.system import process

_lazy_load_lock = threading.RLock()

_LIBTORCH_FILENAME = "libtorch_cpu.so"
"""The largest, which knows nothing of Python. One that does could wait for Python's lock while the importing thread,
which has it, waits for the linker's."""


def import_engine(*, needs_peft: bool = True) -> None:
    """Imports the engine; quickly where the process is artgen's own and diffusers is not there yet.

    Args:
        needs_peft: whether any picture of this process may need PEFT.
    """
    if process.owns_process() and "diffusers" not in sys.modules:
        threading.Thread(target=_preload_libtorch, name="artgen-torch", daemon=True).start()
        with _hide_packages("scipy"):
            importlib.import_module("transformers.models.clip.modeling_clip")
        with _hide_packages(*(() if needs_peft else ("peft",))), _lazy_import("scipy.integrate", "scipy.stats"):
            importlib.import_module("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    importlib.import_module("artgen.engine.generate")
    process.freeze_gc()


def _preload_libtorch() -> None:
    """Maps torch's largest library into memory, a part of its import's time, while Python does other things.

    By the system's own function: what Python calls it through keeps all other threads waiting.
    """
    spec = importlib.util.find_spec("torch")
    if os.name != "posix" or spec is None or spec.origin is None:
        return
    library = Path(spec.origin).parent / "lib" / _LIBTORCH_FILENAME
    with contextlib.suppress(OSError, AttributeError):
        if library.exists():
            ctypes.CDLL(None).dlopen(os.fsencode(library), os.RTLD_NOW)


@contextlib.contextmanager
def _hide_packages(*packages: str) -> Iterator[None]:
    """Lets packages that are not loaded yet look as if they were not installed."""
    hidden = [name for name in packages if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)


class _LazyModule(ModuleType):
    """A module that is loaded when something is missing in it."""

    def __getattr__(self, name: str) -> Any:
        with _lazy_load_lock:
            spec = self.__spec__
            if type(self) is _LazyModule and spec is not None and isinstance(spec.loader, _LazyLoader):
                self.__class__ = ModuleType  # type: ignore[assignment]
                spec.loader.wrapped_loader.exec_module(self)
        return getattr(self, name)


class _LazyLoader(importlib.abc.Loader):
    """Leaves a module to be filled by another loader on first use.

    As `importlib.util.LazyLoader` does, whose modules are filled as soon as they are imported a second time.
    """

    def __init__(self, wrapped_loader: importlib.abc.Loader) -> None:
        self.wrapped_loader = wrapped_loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.wrapped_loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _LazyModule


class _LazyFinder(importlib.abc.MetaPathFinder):
    """Finds modules as Python does, for loading on first use."""

    def __init__(self, module_names: tuple[str, ...]) -> None:
        self._module_names = module_names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._module_names else None
        if spec is not None and isinstance(spec.loader, importlib.abc.Loader):
            spec.loader = _LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def _lazy_import(*module_names: str) -> Iterator[None]:
    """Lets `import NAME` put off the work until something of the module is used."""
    finder = _LazyFinder(module_names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
