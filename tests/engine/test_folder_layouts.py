"""Test that each layout of a model folder loads, or is refused with one sentence before its weights are read."""

from pathlib import Path

import folder_layouts
import pytest

from artgen import registry
from artgen.engine.loading import pipeline_cache
from artgen.errors import ArtgenError


def check(folder: Path) -> None:
    """Run all checks that precede the loading of weights."""
    model = registry.resolve_model(str(folder))
    registry.check_model_files(model)
    pipeline_cache.check_loadable(model)


@pytest.mark.parametrize("name", folder_layouts.LAYOUTS)
def test_each_layout_has_the_expected_verdict(models: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = folder_layouts.build(name, models, tmp_path / "model")
    verdict = folder_layouts.LAYOUTS[name]["verdict"]
    if verdict == "loads":
        check(folder)
        return
    code, text = verdict
    with pytest.raises(ArtgenError) as caught:
        check(folder)
    error = caught.value
    assert text in f"{error.message} {error.hint}"
    assert error.exit_code == code
    assert error.message.endswith(".")
    assert error.hint
    assert "\n" not in error.message


def test_there_are_enough_layouts() -> None:
    assert len(folder_layouts.LAYOUTS) >= 45
