"""Import torch, transformers and diffusers without the packages that image generation does not use.

This module imports no library, so that it can run first. transformers and diffusers search for optional packages when
they are imported, and import those that they find: SciPy for the losses of object detection, the quantiles of `beta`
sigmas and one scheduler; PEFT for LoRAs. `import_engine` hides the packages that are not used (None in `sys.modules`,
see https://docs.python.org/3/reference/import.html#the-module-cache) and imports the others on first use.
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
"""Largest library of torch that does not use Python's C API. A library that uses it could deadlock: it waits for the
global interpreter lock while the importing thread holds that lock and waits for the dynamic linker."""


def import_engine(*, needs_peft: bool = True) -> None:
    """Import the engine; with fewer packages if artgen owns the process and diffusers is not imported yet.

    Args:
        needs_peft: whether a job of this process may use a LoRA.
    """
    if process.owns_process() and "diffusers" not in sys.modules:
        _import_libraries(needs_peft, process.enabled_import_optimizations())
    importlib.import_module("artgen.engine.generate")
    process.freeze_gc()


def _import_libraries(needs_peft: bool, optimizations: frozenset[str]) -> None:
    """Import transformers and diffusers with some of `process.IMPORT_OPTIMIZATIONS`."""
    if "preload" in optimizations:
        threading.Thread(target=_preload_libtorch, name="artgen-torch", daemon=True).start()
    hide, lazy = "hide" in optimizations, "lazy" in optimizations
    with hide_packages(*(("scipy",) if hide else ())):
        importlib.import_module("transformers.models.clip.modeling_clip")
    hidden = ("peft",) if hide and not needs_peft else ()
    with hide_packages(*hidden), lazy_import(*(("scipy.integrate", "scipy.stats") if lazy else ())):
        importlib.import_module("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")


def _preload_libtorch() -> None:
    """Load torch's largest library in a thread while the main thread imports Python modules.

    The thread calls the system's `dlopen` through ctypes, which releases the global interpreter lock; `ctypes.CDLL`
    itself holds the lock.
    """
    spec = importlib.util.find_spec("torch")
    if os.name != "posix" or spec is None or spec.origin is None:
        return
    library = Path(spec.origin).parent / "lib" / _LIBTORCH_FILENAME
    with contextlib.suppress(OSError, AttributeError):
        if library.exists():
            ctypes.CDLL(None).dlopen(os.fsencode(library), os.RTLD_NOW)


@contextlib.contextmanager
def hide_packages(*packages: str) -> Iterator[None]:
    """Make packages that are not imported yet look as if they were not installed."""
    hidden = [name for name in packages if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)


class _LazyModule(ModuleType):
    """Represent a module that is executed when an attribute is missing."""

    def __getattr__(self, name: str) -> Any:
        with _lazy_load_lock:
            spec = self.__spec__
            if type(self) is _LazyModule and spec is not None and isinstance(spec.loader, _LazyLoader):
                self.__class__ = ModuleType  # type: ignore[assignment]
                spec.loader.wrapped_loader.exec_module(self)
        return getattr(self, name)


class _LazyLoader(importlib.abc.Loader):
    """Delay the execution of a module until its first use.

    `importlib.util.LazyLoader` is not enough: its modules are executed when a second module imports them.
    """

    def __init__(self, wrapped_loader: importlib.abc.Loader) -> None:
        self.wrapped_loader = wrapped_loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.wrapped_loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _LazyModule


class _LazyFinder(importlib.abc.MetaPathFinder):
    """Find some modules as Python does, and give them a lazy loader."""

    def __init__(self, module_names: tuple[str, ...]) -> None:
        self._module_names = module_names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._module_names else None
        if spec is not None and isinstance(spec.loader, importlib.abc.Loader):
            spec.loader = _LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def lazy_import(*module_names: str) -> Iterator[None]:
    """Delay the execution of these modules from `import NAME` to the first use of an attribute."""
    finder = _LazyFinder(module_names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
