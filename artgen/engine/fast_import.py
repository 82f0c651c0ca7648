"""Import transformers and diffusers without most of SciPy.

This module imports no library, so that it can run first. transformers imports SciPy for the losses of object detection;
diffusers imports it for the quantiles of `beta` sigmas and for one scheduler. `import_engine` hides SciPy from
transformers (None in `sys.modules`, see https://docs.python.org/3/reference/import.html#the-module-cache), and delays
SciPy's modules in diffusers until their first use.
"""

import contextlib
import importlib.abc
import importlib.util
import logging
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from artgen.system import process

_lazy_load_lock = threading.RLock()


def import_engine(module: str = "artgen.engine.generate") -> Any:
    """Import a module of the engine and return it.

    If artgen owns the process, the import runs without garbage collection and, if diffusers is not imported yet,
    without most of SciPy and without warnings in the log.
    """
    with process.paused_gc(), quiet_log():
        if process.owns_process() and "diffusers" not in sys.modules:
            with hide_package("scipy"):
                importlib.import_module("transformers.models.clip.modeling_clip")
            with lazy_import("scipy.integrate", "scipy.stats"):
                importlib.import_module("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
        return importlib.import_module(module)


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """Suppress log messages below ERROR if artgen owns the process. torchao logs each CUDA library that is missing."""
    before = logging.root.manager.disable
    if process.owns_process():
        logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def hide_package(name: str) -> Iterator[None]:
    """Hide a package that is not imported yet: an import within the block raises ModuleNotFoundError."""
    modules: dict[str, Any] = sys.modules
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        modules.pop(name, None)


class _LazyModule(ModuleType):
    """Represent a module whose code runs at the first access to an attribute."""

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
    """Find the named modules with the default finder, and give them a lazy loader."""

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
