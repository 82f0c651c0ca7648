"""Test the files of presets, their validation and their priority."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from artgen.errors import InputFileError, UsageError
from artgen.jobs.recorded_settings import recorded_settings
from artgen.spec import config, presets
from artgen.spec.preset_values import PRESET_SETTINGS
from artgen.spec.presets import apply_presets, find_preset, list_presets, preset_values, remove_preset, save_preset
from artgen.spec.settings import CONFIGURED_GROUPS, excluded_settings, options_of, settings_of


def write_presets(text: str | bytes) -> Path:
    path = presets.presets_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_saved_presets_are_read_and_the_rest_of_the_file_is_kept() -> None:
    path = write_presets("# mine\n[other]\nsteps = 9 # few\n")
    values = {"steps": 28, "guidance_scale": 6, "lora": ["a:0.8", "b"], "negative_prompt": 'a "quoted"\ntext'}
    assert save_preset("portrait", values) == path
    assert find_preset("portrait").values == {**values, "guidance_scale": 6.0, "lora": ("a:0.8", "b")}
    assert path.read_text().startswith("# mine\n[other]\nsteps = 9 # few\n")
    with pytest.raises(UsageError, match="exists"):
        save_preset("portrait", {"steps": 3})
    save_preset("portrait", {"steps": 3}, overwrite=True)
    assert find_preset("portrait").values == {"steps": 3}
    remove_preset("portrait")
    assert [preset.name for preset in list_presets()] == ["other"]
    assert [file.name for file in path.parent.iterdir()] == ["presets.toml"]


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".a", "-a", "a b", "a\n", "a\0", "a" * 65, "a\\b", "[a]", 'a"', "~", "_a"]
)
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        save_preset(name, {"steps": 3})
    assert not presets.presets_file().exists()


@pytest.mark.parametrize("name", ["a.b", "b-c", "Ünï", "肖像", "4k", "a+b", "a" * 64])
def test_valid_names_are_read_again(name: str) -> None:
    save_preset(name, {"steps": 3})
    assert find_preset(name).values == {"steps": 3}
    remove_preset(name)
    assert list_presets() == []


def test_presets_contain_no_secrets_and_no_folders() -> None:
    assert not any(PRESET_SETTINGS.keys() & options_of(group).keys() for group in CONFIGURED_GROUPS)
    declared = [settings_of(group)[name] for name, group in PRESET_SETTINGS.items()]
    assert not any(setting.is_secret or setting.per_call for setting in declared)
    assert PRESET_SETTINGS.keys() - {"score", "score_model"} < config.CONFIGURABLE_SETTINGS.keys()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[a]\nsteps = 0\n", 2, "steps must be 1 to 1,000"),
        ("# x\n\n[a]\nwidth = 64\n\nsteps = 'many'", 6, "steps must be a whole number"),
        ("[b]\nsteps = 4\n[a]\nsteps = true", 4, "steps must be a whole number"),
        ("[a]\nstepps = 4", 2, "Unknown setting: 'stepps'"),
        ("[a]\nprompt = 'x'", 2, "Unknown setting: 'prompt'"),
        ("[a]\nseed = 4", 2, "Unknown setting: 'seed'"),
        ("[a]\ncivitai_token = 'x'", 2, "Unknown setting: 'civitai_token'"),
        ("[a]\nscheduler = 'foo'", 2, "Unknown scheduler: 'foo'"),
        ("[a]\ndevice = 'gpu'", 2, "device must be"),
        ("[a]\nmemory_budget = 'x'", 2, "x"),
        ("[a]\nlora = ['x:99']", 2, "The scale of a LoRA"),
        ("[a]\nlora = [3]", 2, "lora must be text"),
        ("[a]\nstyle = 'x'", 2, "style must be a list"),
        ("[a]\nsigma = 'x'", 2, "sigma"),
        (f"[a]\nguidance_scale = {'9' * 400}", 2, "guidance_scale must be"),
        ("[a]\nguidance_scale = nan", 2, "finite"),
        ("[a]\nwidth = 1979-05-27", 2, "width must be a whole number"),
        ('[a]\nnegative_prompt = "a\\u0000"\n', 2, "NUL"),
        ("[a]\nsteps = 4\nquantize = 'fp8'\nlora = ['x']", 3, "Cannot use a LoRA with --quantize"),
        ("[a]\nsteps = 4\nsteps = 5\n", 3, "overwrite"),
        ("[a\nsteps = 4", 1, "not valid TOML"),
        ("a = 3", 1, "'a' is not a preset"),
        ("[[a]]\nsteps = 3", 1, "'a' is not a preset"),
        ("['../a']\nsteps = 3", 1, "cannot be the name"),
    ],
)
def test_invalid_files_are_refused_with_file_and_line(text: str, line: int, reason: str) -> None:
    path = write_presets(text)
    for attempt in (list_presets, lambda: find_preset("z"), lambda: save_preset("z", {"steps": 3})):
        with pytest.raises(InputFileError) as caught:
            attempt()
        assert f"line {line}" in caught.value.message
        assert f"'{path}'" in caught.value.message
        assert reason in caught.value.message
        assert caught.value.hint
    assert path.read_text() == text


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe[\0a\0]\0",
        b"[a]\nsteps = " + b"9" * 5000,
        b"a = " + b"[" * 5000,
        b"." * 5000,
        b"#" * (config.MAX_USER_FILE_BYTES + 1),
        b"\0" * 100,
    ],
    ids=["utf16", "digits", "nested", "dots", "large", "nul"],
)
def test_hostile_files_are_refused(data: bytes) -> None:
    path = write_presets(data)
    with pytest.raises(InputFileError, match="presets"):
        list_presets()
    with pytest.raises(InputFileError):
        save_preset("z", {"steps": 3}, overwrite=True)
    assert path.read_bytes() == data


def test_files_that_are_not_regular_are_refused() -> None:
    path = presets.presets_file()
    path.mkdir(parents=True)
    with pytest.raises(InputFileError):
        list_presets()
    path.rmdir()
    path.symlink_to("missing")
    with pytest.raises(InputFileError):
        list_presets()
    path.unlink()
    os.mkfifo(path)
    result: list[BaseException] = []

    def read() -> None:
        try:
            list_presets()
        except InputFileError as error:
            result.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(60)
    assert result, "a pipe without a writer is refused"


def test_the_file_does_not_exceed_its_limit() -> None:
    save_preset("a", {"negative_prompt": "x" * 40_000})
    before = presets.presets_file().read_bytes()
    with pytest.raises(UsageError, match="KiB"):
        save_preset("b", {"negative_prompt": "x" * 40_000})
    assert presets.presets_file().read_bytes() == before


def test_a_preset_of_the_project_hides_the_preset_of_the_user() -> None:
    save_preset("a", {"steps": 3})
    save_preset("b", {"steps": 4})
    Path("artgen.toml").write_text("steps = 7\n[presets.a]\nsteps = 5\n")
    assert preset_values(["a"]) == {"steps": 5}
    assert [(preset.name, preset.file.name) for preset in list_presets()] == [
        ("a", "artgen.toml"),
        ("b", "presets.toml"),
    ]
    assert config.load_defaults("txt2img")["txt2img"] == {"steps": 7}
    remove_preset("a")
    with pytest.raises(UsageError, match="preset of the project"):
        remove_preset("a")
    Path("artgen.toml").write_text("[presets.a]\nsteps = 0\n")
    with pytest.raises(InputFileError, match=r"'artgen\.toml', line 2: steps"):
        list_presets()
    Path("artgen.toml").write_text("presets = 3\n")
    with pytest.raises(InputFileError, match=r"'artgen\.toml', line 1"):
        list_presets()
    write_presets("[presets.a]\nsteps = 5\n")
    Path("artgen.toml").unlink()
    with pytest.raises(InputFileError, match="Unknown setting"):
        list_presets()


def test_unknown_presets_have_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        find_preset("portrait")
    assert "artgen preset save" in caught.value.hint
    save_preset("portrait", {"steps": 3})
    with pytest.raises(UsageError) as caught:
        find_preset("potrait")
    assert "portrait" in caught.value.hint


def test_call_has_priority_over_later_presets_over_earlier_presets() -> None:
    save_preset("a", {"steps": 3, "guidance_scale": 4.0, "width": 64, "height": 64, "strength": 0.5})
    save_preset("b", {"steps": 5})
    accepted = {"steps", "guidance_scale", "width", "height", "size"}
    values, notes = apply_presets({"preset": ["a", "b"], "guidance_scale": 1.0}, accepted)
    assert values == {"steps": 5, "guidance_scale": 1.0, "width": 64, "height": 64, "preset": ("a", "b")}
    assert len(notes) == 1
    assert "strength" in notes[0]
    values, _ = apply_presets({"preset": "a", "size": "32x32"}, accepted)
    assert not {"width", "height"} & values.keys()
    assert apply_presets({"steps": 3}, accepted) == ({"steps": 3}, [])
    assert excluded_settings(["size"]) == {"width", "height"}


@pytest.mark.parametrize("value", [3, True, {"a": 1}, [3], object()])
def test_presets_of_another_type_are_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="preset"):
        apply_presets({"preset": value}, {"steps"})


def test_settings_of_a_record_contain_no_paths_and_no_lookups(tmp_path: Path) -> None:
    record = {
        "artgen": "0.1.0", "task": "txt2img", "prompt": "x", "negative_prompt": "bad __secret__", "seed": 3, "steps": 9,
        "guidance_scale": 5, "scheduler": "euler", "width": 64, "height": 64, "model": "/etc/passwd",
        "lora": ["../../x.safetensors"], "embedding": ["y"], "dtype": "fp32", "device": "cpu", "vae_tiling": False,
        "output": "/etc/x.png", "preset": ["a"], "clip_skip": 10**30, "unknown": {"a": 1},
    }  # fmt: skip
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    values, notes = recorded_settings(path)
    assert values == {"steps": 9, "guidance_scale": 5.0, "scheduler": "euler", "width": 64, "height": 64}
    assert all(name in notes[-1] for name in ("negative_prompt", "model", "lora", "embedding", "clip_skip"))
    for model, expected in (("sdxl", "sdxl"), ("tiny", "tiny"), ("../x", None), ("owner/name", "owner/name")):
        path.write_text(json.dumps({**record, "model": model}))
        assert recorded_settings(path)[0].get("model") == expected
    path.write_text(json.dumps({**record, "task": "img2img", "image": "in.png"}))
    assert not {"width", "height", "image"} & recorded_settings(path)[0].keys()
    path.write_text(json.dumps({"artgen": "0.1.0", "task": "txt2img", "prompt": "x", "seed": 3}))
    with pytest.raises(InputFileError, match="no setting of a preset"):
        recorded_settings(path)


def test_settings_of_an_image_of_another_tool_are_used(tmp_path: Path) -> None:
    path = tmp_path / "a1111.txt"
    path.write_text(
        "a fox\nNegative prompt: bad\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
        "Model: dream, Clip skip: 2\n"
    )
    values, notes = recorded_settings(path)
    assert (values["steps"], values["guidance_scale"], values["clip_skip"]) == (20, 7.0, 2)
    assert (values["width"], values["height"], values["negative_prompt"]) == (512, 768, "bad")
    assert not {"model", "prompt", "seed"} & values.keys()
    assert "model" in notes[-1]
