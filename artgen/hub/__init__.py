"""Downloads from the Hugging Face hub into its ordinary cache, so that other tools share them."""

from collections.abc import Callable
from pathlib import Path

OnProgress = Callable[[str, int, int], None]


def pull(repo: str, *, revision: str | None = None, force: bool = False, on_progress: OnProgress | None = None) -> Path:
    raise NotImplementedError
