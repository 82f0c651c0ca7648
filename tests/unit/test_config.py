"""Test that configuration files are written completely or not at all."""

import re
from pathlib import Path

import pytest

from artgen import registry
from artgen.errors import InputFileError, OutputError, UsageError
from artgen.spec import config, config_values, presets
from artgen.system import files


def test_set_value_keeps_the_rest_of_the_file() -> None:
    path = config.user_config_file()
    path.parent.mkdir(parents=True)
    path.write_text("# mine\nsteps = 9\n")
    config_values.set_value("img2img.strength", "0.5", path)
    assert path.read_text().startswith("# mine\nsteps = 9\n")
    assert config.read_config_file(path) == {"steps": 9, "img2img": {"strength": 0.5}}
    config_values.set_value("steps", "", path)
    assert config.read_config_file(path) == {"img2img": {"strength": 0.5}}
    assert [file.name for file in path.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("path", ["folder", "file/config.toml", "file/deeper/config.toml", "/proc/new/config.toml"])
def test_unusable_paths_raise_output_errors(path: str) -> None:
    Path("folder").mkdir()
    Path("file").write_text("text")
    with pytest.raises(OutputError) as caught:
        config_values.set_value("steps", "4", Path(path))
    assert path in caught.value.message
    assert caught.value.hint
    assert sorted(file.name for file in Path().iterdir()) == ["file", "folder"]
    assert not list(Path("folder").iterdir())


def test_set_value_does_not_change_invalid_files() -> None:
    for data in (b"steps = \n", b"stepps = 4\n", b"\xff\xfe"):
        Path("artgen.toml").write_bytes(data)
        with pytest.raises(InputFileError):
            config_values.set_value("steps", "4", Path("artgen.toml"))
        assert Path("artgen.toml").read_bytes() == data


def test_text_that_is_not_utf8_is_not_written() -> None:
    Path("m\udcff").mkdir()
    registry.set_alias("mine", "sd15")
    before = registry.user_aliases_path().read_bytes()
    for attempt in (
        lambda: files.write_atomically(Path("x.toml"), "model = '\udcff'"),
        lambda: config_values.set_value("model", "./m\udcff", Path("x.toml")),
        lambda: registry.set_alias("other", "./m\udcff"),
    ):
        with pytest.raises(UsageError, match="UTF-8"):
            attempt()
    assert not Path("x.toml").exists()
    assert registry.user_aliases_path().read_bytes() == before


def test_a_failed_write_removes_its_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        files.write_atomically(Path("folder"), "text")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(Path("x"), "text")
    assert [path.name for path in Path().iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cfg_scale = 3\nguidance_scale = 4\n", "are the same setting"),
        ("[img2img]\nguidance-scale = 3\nguidance_scale = 4\n", "are the same setting"),
        ("[preset.p]\nsteps = 3\n", "Unknown table: 'preset'."),
        ("[batch]\nsteps = 3\n", "Unknown table: 'batch'."),
        ("seed = 3\n", "'seed' cannot be in a configuration file."),
        ("preset = 3\n", "preset must be a list, not 3."),
    ],
)
def test_names_without_a_meaning_are_refused(text: str, message: str) -> None:
    Path("artgen.toml").write_text(text)
    with pytest.raises(InputFileError, match=re.escape(message)) as caught:
        config.load_defaults("txt2img")
    assert caught.value.hint or "list" in message


def test_a_preset_has_each_setting_once() -> None:
    Path("artgen.toml").write_text("[presets.p]\ncfg_scale = 3\nguidance_scale = 4\n")
    with pytest.raises(InputFileError, match="line 3: cfg_scale and guidance_scale are the same setting"):
        presets.list_presets()
