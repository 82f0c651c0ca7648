"""The user's own defaults: written whole, or the file is as it was."""

from pathlib import Path

import pytest

from artgen import registry
from artgen.errors import InputFileError, OutputError, UsageError
from artgen.spec import config
from artgen.system import files


def test_setting_one_leaves_the_rest() -> None:
    path = config.user_config_file()
    path.parent.mkdir(parents=True)
    path.write_text("# mine\nsteps = 9\n")
    config.set_value("img2img.strength", "0.5", path)
    assert path.read_text().startswith("# mine\nsteps = 9\n")
    assert config.read_config_file(path) == {"steps": 9, "img2img": {"strength": 0.5}}
    config.set_value("steps", "", path)
    assert config.read_config_file(path) == {"img2img": {"strength": 0.5}}
    assert [file.name for file in path.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("place", ["folder", "file/config.toml", "file/deeper/config.toml", "/proc/new/config.toml"])
def test_a_path_that_cannot_be_used(place: str) -> None:
    Path("folder").mkdir()
    Path("file").write_text("precious")
    with pytest.raises(OutputError) as refused:
        config.set_value("steps", "4", Path(place))
    assert place in refused.value.message
    assert refused.value.hint
    assert sorted(path.name for path in Path().iterdir()) == ["file", "folder"]
    assert not list(Path("folder").iterdir())


def test_what_is_no_configuration_is_left_as_it_is() -> None:
    for data in (b"steps = \n", b"stepps = 4\n", b"\xff\xfe"):
        Path("artgen.toml").write_bytes(data)
        with pytest.raises(InputFileError):
            config.set_value("steps", "4", Path("artgen.toml"))
        assert Path("artgen.toml").read_bytes() == data


def test_bytes_that_are_no_text_are_not_written() -> None:
    Path("m\udcff").mkdir()
    registry.set_alias("mine", "sd15")
    before = registry.user_aliases_path().read_bytes()
    for attempt in (
        lambda: files.write_atomically(Path("x.toml"), "model = '\udcff'"),
        lambda: config.set_value("model", "./m\udcff", Path("x.toml")),
        lambda: registry.set_alias("other", "./m\udcff"),
    ):
        with pytest.raises(UsageError, match="UTF-8"):
            attempt()
    assert not Path("x.toml").exists()
    assert registry.user_aliases_path().read_bytes() == before


def test_a_failure_leaves_no_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("taken").mkdir()
    with pytest.raises(OutputError, match="taken"):
        files.write_atomically(Path("taken"), "text")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(Path("x"), "text")
    assert [path.name for path in Path().iterdir()] == ["taken"]
