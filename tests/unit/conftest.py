"""Test the packages without torch: an import of torch, diffusers or transformers in a test of this folder fails."""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import model_layouts
import pytest

REJECTED = ("torch", "diffusers", "transformers")


class RejectingImporter(MetaPathFinder, Loader):
    """Find the rejected modules, and raise an error when one of them is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname in REJECTED else None
        if spec:
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        raise AssertionError(f"a test in tests/unit imports {module.__name__}; move it to tests/engine")


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reject imports of torch, also if a test of another folder imported it."""
    for name in REJECTED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [RejectingImporter(), *sys.meta_path])


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of the tiny models by name. All weights are 0."""
    return model_layouts.write_all(tmp_path_factory.mktemp("models"))
