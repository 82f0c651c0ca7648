"""Test the conversion of Python values to the types of the settings."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artgen
from artgen.errors import UsageError
from artgen.jobs.anomaly import Anomaly
from artgen.spec.python_values import output_text, path_text, plain_value


@pytest.mark.parametrize("value", [None, 5, ["a.png"], io.BytesIO(), {"a": 1}, ""])
def test_path_of_another_type_is_refused(value: Any) -> None:
    calls: list[Any] = [
        lambda: path_text(value, "folder"),
        lambda: output_text(value, "folder"),
        lambda: artgen.batch_status(value),
        lambda: artgen.verify_batch(value),
        lambda: artgen.convert_model(value),
        lambda: artgen.train(value),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"^(folder|file) (must be a path, not .*|is empty)\.") as caught:
            call()
        assert caught.value.hint


def test_file_objects_get_a_hint_about_bytes() -> None:
    with pytest.raises(UsageError) as caught:
        output_text(io.BytesIO(), "path")
    assert "to_file().content" in caught.value.hint


def test_paths_are_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    assert path_text("~/a.png", "path") == "/home/ada/a.png"
    assert path_text(b"a.png", "path") == path_text(Path("a.png"), "path") == "a.png"
    assert output_text("{seed}.png", "path") == "{seed}.png"
    assert output_text(Path("{seed}.png"), "path") == "{{seed}}.png"
    assert Path(output_text("-", "path")) == Path("-")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.int8(3), 3), (np.float32(0.5), 0.5), (np.bool_(True), True), (np.array([1, 2]), [1, 2]), ("x", "x")],
)  # fmt: skip
def test_numbers_of_numpy_are_numbers(value: Any, expected: Any) -> None:
    assert plain_value(value) == expected
    assert type(plain_value(value)) is type(expected)


def test_devices_and_dtypes_of_torch_are_texts() -> None:
    dtype = type("dtype", (), {"__module__": "torch", "__str__": lambda _: "torch.float16"})
    assert plain_value(dtype()) == "float16"


def test_presets_have_numbers_of_numpy_and_keywords_in_messages() -> None:
    artgen.save_preset("portrait", {"steps": np.int64(3)})
    assert [dict(preset.values) for preset in artgen.list_presets()] == [{"steps": 3}]
    with pytest.raises(UsageError, match="overwrite=True"):
        artgen.save_preset("portrait", {"steps": 4})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [(5, {"steps": 3}, "name must be text"), (None, {"steps": 3}, "name must be text"), ("a", [], "values must be")],
)  # fmt: skip
def test_presets_of_other_types_are_refused(name: Any, values: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        artgen.save_preset(name, values)


@pytest.mark.parametrize(("levels", "text"), [(25, "25"), ([25, 50.0], "25,50"), (np.array([25, 50]), "25,50")])
def test_noise_levels_are_numbers_or_text(levels: Any, text: str) -> None:
    assert Anomaly(noise_levels=levels).noise_levels == text


@pytest.mark.parametrize("levels", [["a"], [None], [], "a", True, [float("nan")]])
def test_invalid_noise_levels_are_refused(levels: Any) -> None:
    with pytest.raises(UsageError, match=r"^noise_levels must be "):
        Anomaly(noise_levels=levels)


@pytest.mark.parametrize("name", ["output", "overwrite"])
def test_only_functions_whose_result_is_saved_name_the_method_save(name: str) -> None:
    for function, hint in (("txt2img", "save"), ("noise", "save"), ("reconstruct", "")):
        with pytest.raises(UsageError) as caught:
            getattr(artgen, function)("x", **{name: True})
        assert hint in caught.value.hint
        assert hint or "save" not in caught.value.hint
    with pytest.raises(UsageError) as caught:
        artgen.batch(["x"], output="x")  # type: ignore[call-arg]
    assert caught.value.hint == "Did you mean folder?"
