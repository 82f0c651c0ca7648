"""Test the candidates of completions, and that every candidate is a valid value."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artgen.cli.completion import values
from artgen.cli.completion.command_line import ARGUMENT_KINDS, complete
from artgen.cli.completion.shells import MAX_SECONDS, SCRIPTS, answer, show_or_install
from artgen.cli.completion.split_line import split_line
from artgen.cli.main import COMMAND_SUMMARIES, load_command
from artgen.errors import UsageError
from artgen.registry import set_alias
from artgen.spec import config, config_values, fast, presets, settings
from artgen.spec.schedulers import SCHEDULERS, find_scheduler_with_sigmas
from artgen.spec.settings import options_of, settings_of, type_of

BREAKS = " \t\n\"'@><=;|&(:"
"""COMP_WORDBREAKS of bash."""


def texts(*words: str) -> list[str]:
    """Return the candidates for the last word."""
    return [each.text for each in complete(words[:-1], words[-1]).candidates]


def commands() -> Iterator[tuple[str, Any]]:
    for name in COMMAND_SUMMARIES:
        command = load_command(name)
        for subname, child in getattr(command, "commands", {"": command}).items():
            yield f"{name} {subname}".strip(), child


@pytest.fixture
def user_files() -> None:
    """Write models, LoRAs, embeddings, styles, presets and an alias of the user."""
    for name in (
        "loras/film look.safetensors", "loras/sub/oil.safetensors", "loras/bad.pt", "embeddings/face.safetensors",
        "checkpoints/dream.safetensors", "checkpoints/snow:1.safetensors", "vae/soft.safetensors",
    ):  # fmt: skip
        path = Path("models", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    Path("styles.csv").write_text('name,prompt\nFilm noir,x\nfilm grain,x\n"a\nb",x\n')
    config_values.set_value("model_folders", "models", config.user_config_file())
    config_values.set_value("style_folder", "styles.csv", config.user_config_file())
    set_alias("mine", "owner/name")
    presets.save_preset("portrait", {"steps": 3})
    snapshot = Path(os.environ["HF_HOME"], "hub", "models--ada--fox", "snapshots", "0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    (blobs / ("0" * 64)).write_bytes(b"")


@pytest.mark.parametrize(
    ("line", "words", "current", "quote", "fixed"),
    [
        ("artgen ", ["artgen"], "", "", ""),
        ("artgen tx", ["artgen"], "tx", "", ""),
        ("artgen 'a b' --x", ["artgen", "a b"], "--x", "", ""),
        ('artgen "a \\"b" "c d', ["artgen", 'a "b'], "c d", '"', ""),
        ("artgen a\\ b 'c", ["artgen", "a b"], "c", "'", ""),
        ("artgen --model=o/n", ["artgen"], "--model=o/n", "", "--model="),
        ("artgen x:1:2", ["artgen"], "x:1:2", "", "x:1:"),
        ('artgen --a="b=c', ["artgen"], "--a=b=c", '"', "--a="),
        ("artgen a\\:b", ["artgen"], "a:b", "", ""),
        ("artgen ''", ["artgen"], "", "", ""),
        ("artgen '' ", ["artgen", ""], "", "", ""),
        ("artgen a\\", ["artgen"], "a\\", "", ""),
        ("artgen\ta\nb", ["artgen", "a"], "b", "", ""),
        ("", [], "", "", ""),
    ],
)
def test_lines_are_split_as_by_the_shell(line: str, words: list[str], current: str, quote: str, fixed: str) -> None:
    assert split_line(line, BREAKS) == (words, current, quote, fixed)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("txt2",), ["txt2img"]),
        (("txt2img", "--sched"), ["--scheduler"]),
        (("txt2img", "--negative_p"), ["--negative-prompt"]),
        (("txt2img", "--no-vae"), ["--no-vae-tiling"]),
        (("txt2img", "--sampler-n"), ["--sampler-name"]),
        (("txt2img", "x", "--scheduler", "dpm++3"), ["dpm++3m"]),
        (("txt2img", "x", "--scheduler", "dpmpp_2m_sde_"), ["dpmpp_2m_sde_gpu"]),
        (("txt2img", "x", "--sampler", "unip"), ["unipc", "UniPC"]),
        (("txt2img", "x", "--model", "min"), ["mine"]),
        (("txt2img", "x", "-m", "ad"), ["ada/fox"]),
        (("txt2img", "x", "-m", "dre"), ["dreamshaper", "dreamshaper-xl", "dream"]),
        (("txt2img", "x", "-m", "snow"), ["snow:1"]),
        (("txt2img", "x", "--lora", "fi"), ["film look"]),
        (("txt2img", "x", "--lora", ""), ["film look", "sub/oil"]),
        (("txt2img", "x", "--embedding", ""), ["face"]),
        (("txt2img", "x", "--vae", "so"), ["soft"]),
        (("txt2img", "x", "--style", "fi"), ["Film noir", "film grain"]),
        (("txt2img", "x", "--preset", ""), ["portrait"]),
        (("txt2img", "x", "--offload", "s"), ["sequential"]),
        (("txt2img", "x", "--dtype", "f"), ["fp32", "fp16"]),
        (("txt2img", "x", "--fast", "cache,l"), ["cache,lcm"]),
        (("txt2img", "x", "--batch-size", ""), ["auto"]),
        (("txt2img", "x", "--steps", ""), []),
        (("txt2img", "x", "--sweep", "guidance_s"), ["guidance_scale="]),
        (("txt2img", "x", "--sweep", "offload=none,te"), ["offload=none,text"]),
        (("txt2img", "x", "--sweep", "sampler=unip"), ["sampler=unipc", "sampler=UniPC"]),
        (("replay", "x.png", "--set", "safety_checker="), ["safety_checker=true", "safety_checker=false"]),
        (("replay", "x.png", "--set", "guide=a"), ["guide=apg"]),
        (("a red fox", "--sched"), ["--scheduler"]),
        (("models", "pu"), ["pull"]),
        (("models", "show", "min"), ["mine"]),
        (("models", "alias", ""), ["mine"]),
        (("models", "list", "--family", "flux-s"), ["flux-schnell"]),
        (("config", "set", "ste"), ["steps"]),
        (("config", "set", "img2img.stre"), ["img2img.strength"]),
        (("config", "set", "offload", "g"), ["group"]),
        (("config", "set", "img2img.dtype", "b"), ["bf16"]),
        (("config", "set", "safety_checker", ""), ["true", "false"]),
        (("history", "--li"), ["--limit"]),
        (("history", "sh"), ["show"]),
        (("history", "show", ""), []),
        (("preset", "show", "p"), ["portrait"]),
        (("preset", "save", "new", "--sched"), ["--scheduler"]),
        (("preset", "save", "new", "--see"), []),
        (("help", "models", "pu"), ["pull"]),
        (("batch", "sta"), ["status"]),
        (("batch", "p.txt", "--sched"), ["--scheduler"]),
        (("batch", "run", "p.txt", "--task", "inp"), ["inpaint"]),
        (("noise", "x.png", "--schedule", "co"), ["cosine"]),
        (("txt2img", "x", "--", "--sched"), []),
        (("txt2img", "x", "--device", "cuda:"), ["cuda:0"]),
        (("train", "photos", "--mode", "scr"), ["scratch"]),
        (("unknown", ""), []),
        (("models", "unknown", ""), []),
        (("txt2img", "x", "--unknown="), []),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("user_files")
def test_candidates(words: tuple[str, ...], expected: list[str]) -> None:
    assert [text for text in texts(*words) if text in expected] == expected
    if len(expected) < 2:
        assert texts(*words) == expected


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("img2img", ""), "files"),
        (("inpaint", "in.png", ""), "files"),
        (("inpaint", "in.png", "x", "--mask", ""), "files"),
        (("batch", ""), "files"),
        (("txt2img", "x", "-o", ""), "files"),
        (("txt2img", "x", "-m", ""), "files"),
        (("txt2img", "x", "--lora", "film"), "files"),
        (("txt2img", "x", "--lora", "film:0."), ""),
        (("txt2img", "x", "--output=a"), "files"),
        (("info", ""), "files"),
        (("replay", ""), "files"),
        (("sheet", "a.png", ""), "files"),
        (("train", ""), "files"),
        (("config", "set", "lora_folder", ""), "folders"),
        (("preset", "save", "p", "--from", ""), "files"),
        (("txt2img", ""), ""),
        (("txt2img", "x", "--steps", ""), ""),
        (("models", "pull", ""), ""),
    ],
)
def test_files_complete_where_a_path_is_expected(words: tuple[str, ...], files: str) -> None:
    assert complete(words[:-1], words[-1]).files == files


def test_declared_kinds_exist() -> None:
    kinds = {*values.KINDS, "files", "folders", "assignments", "config names", "config values", ""}
    declared = {setting.values for group in settings.SETTING_GROUPS for setting in settings_of(group).values()}
    assert declared | set(ARGUMENT_KINDS.values()) <= kinds
    parameters = {(path, each.name) for path, command in commands() for each in command.params}
    assert ARGUMENT_KINDS.keys() <= parameters


@pytest.mark.parametrize("path", [path for path, _ in commands()])
@pytest.mark.usefixtures("user_files")
def test_every_option_and_argument_has_valid_candidates(path: str) -> None:
    command = dict(commands())[path]
    words = path.split()
    assert all(text.startswith("-") for text in texts(*words, "--"))
    for parameter in command.params:
        before = [*words, parameter.opts[-1]] if parameter.param_type_name == "option" else words
        if getattr(parameter, "is_flag", False):
            continue
        for typed in ("", "a", "s", "=", "é", "\0", "x:", "-", "../", "a=b,"):
            found = complete(before, typed)
            assert isinstance(found, values.Completion)
            if typed != "-":
                assert all(values.begins_with(each.text, typed) for each in found.candidates), (before, typed)
            assert all(each.text.isprintable() for each in found.candidates)
        group = next((group for group in settings.SETTING_GROUPS if parameter.name in options_of(group)), None)
        if group is None or settings_of(group)[parameter.name].values not in ("", "devices", "schedulers", "fast"):
            continue
        for candidate in complete(before, "").candidates if before != words else ():
            is_list = type_of(group, parameter.name)[0] is tuple
            value = (candidate.text,) if is_list else settings.parse_value(group, parameter.name, candidate.text)
            settings.validate(group(**{parameter.name: value}))


def test_names_of_schedulers_and_approximations_are_accepted() -> None:
    for letter in "abcdefghijklmnopqrstuvwxyzDEU":
        for candidate in values.candidates("schedulers", letter):
            find_scheduler_with_sigmas(candidate.text)
    assert {each.text for each in values.candidates("schedulers", "")} == {entry.name for entry in SCHEDULERS}
    for candidate in values.candidates("fast", ""):
        assert fast.normalize(candidate.text) == candidate.text


def test_names_of_settings_are_accepted_by_config_and_sweep() -> None:
    from artgen.queue.sweeps import parse_axes

    for name in texts("config", "set", ""):
        assert name in config.CONFIGURABLE_SETTINGS
    for name in texts("txt2img", "x", "--sweep", ""):
        setting = name.removesuffix("=")
        for value in texts("txt2img", "x", "--sweep", name)[:3]:
            assert parse_axes([value])[0].name == setting


@pytest.mark.parametrize("file", ["config.toml", "aliases.json", "presets.toml"])
@pytest.mark.parametrize(
    "data", [b"[", b"\xff\0", b'{"a": 3}', b"[" * 100_000], ids=["open", "bytes", "type", "nested"]
)
@pytest.mark.usefixtures("user_files")
def test_damaged_files_only_remove_their_values(file: str, data: bytes) -> None:
    path = config.user_config_folder() / file
    path.write_bytes(data)
    for option in ("--model", "--lora", "--style", "--preset", "--embedding", "--vae"):
        assert all(isinstance(text, str) for text in texts("txt2img", "x", option, ""))
    assert "sdxl" in texts("txt2img", "x", "-m", "sd")
    assert "euler" in texts("txt2img", "x", "--scheduler", "eul")


def run_answer(monkeypatch: pytest.MonkeyPatch, shell: str, line: str) -> list[str]:
    """Return the lines that `artgen` prints for a script."""
    monkeypatch.setenv("_ARTGEN_LINE", line)
    monkeypatch.setenv("_ARTGEN_BREAKS", BREAKS)
    monkeypatch.setattr("signal.setitimer", lambda *_: None)
    buffer = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", buffer)
    assert answer(f"complete_{shell}")
    return buffer.buffer.getvalue().decode().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("artgen txt2img x --scheduler DPM++\\ 2M\\ K", ["", "DPM++\\ 2M\\ Karras"]),
        ('artgen txt2img x --scheduler "DPM++ 2M K', ["", "DPM++ 2M Karras"]),
        ("artgen txt2img x --scheduler 'DPM++ 2M K", ["", "DPM++ 2M Karras"]),
        ("artgen txt2img x --scheduler=dpm++3", ["option", "dpm++3m"]),
        ("artgen txt2img x --lora fi", ["files", "film\\ look"]),
        ("artgen txt2img x -m snow:", ["files", "1"]),
        ("artgen txt2img x -m sno", ["files", "snow:1"]),
        ("artgen txt2img x --model=mo", ["files option"]),
        ("artgen replay x --set guid", ["", "guidance_scale=", "guidance_rescale=", "guide="]),
        ("artgen replay x --set guidance_s", ["nospace", "guidance_scale="]),
        ("artgen replay x --set offload=g", ["", "group"]),
        ("artgen img2img ", ["files"]),
        ("artgen txt2img x --steps ", [""]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("user_files")
def test_answers_for_bash(line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_answer(monkeypatch, "bash", line)
    found = [each for each in found if "nospace" in expected[0] or "nospace" not in each] or found
    assert found[0].replace(" nospace", "") == expected[0].replace(" nospace", "")
    assert sorted(found[1:]) == sorted(expected[1:])


@pytest.mark.usefixtures("user_files")
def test_answers_for_zsh_and_fish(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "artgen txt2img x -m snow"
    files, found = run_answer(monkeypatch, "zsh", line)
    assert (files, found.split("\t")[0]) == ("files", "snow\\:1")
    assert run_answer(monkeypatch, "fish", line)[1].startswith("snow:1\t")
    _, *options = run_answer(monkeypatch, "fish", "artgen txt2img --no")
    assert all(len(each.split("\t")) == 2 for each in options)


def test_other_shells_are_answered_by_typer() -> None:
    assert not answer("complete_powershell")
    assert not answer("source_bash")
    assert not answer("")


@pytest.mark.parametrize(
    "line",
    ["", "artgen", "artgen '", "\udcff", "artgen txt2img x -m \udcff", "artgen " + "x" * 100_000, "a \x1b["],
)
@pytest.mark.parametrize("shell", SCRIPTS)
def test_unusual_lines_have_an_answer(shell: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_answer(monkeypatch, shell, line)  # an exception gives no line


def test_a_large_folder_is_searched_within_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("loras").mkdir()
    for number in range(3000):
        Path(f"loras/{number:05}.safetensors").write_bytes(b"")
    monkeypatch.setenv("ARTGEN_LORA_FOLDER", "loras")
    assert len(texts("txt2img", "x", "--lora", "")) == values.MAX_CANDIDATES
    assert texts("txt2img", "x", "--lora", "02999") == ["02999"]

    def slow(kind: str) -> Iterator[Any]:
        from artgen.registry.model_folders import FoundFile

        yield FoundFile(Path("found.safetensors"), "found.safetensors")
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= MAX_SECONDS
        signal.raise_signal(signal.SIGALRM)
        yield FoundFile(Path("late.safetensors"), "late.safetensors")

    monkeypatch.setattr("artgen.registry.model_folders.iter_files", slow)
    monkeypatch.setenv("_ARTGEN_LINE", "artgen txt2img x --lora ")
    buffer = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", buffer)
    try:
        assert answer("complete_fish")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
    assert buffer.buffer.getvalue() == b"files\nfound\t.\n"  # type: ignore[attr-defined]


def test_completion_imports_no_torch_and_prints_nothing_else() -> None:
    code = (
        "import sys; from artgen.cli.main import run; run(); "
        "assert not {'torch', 'diffusers', 'transformers', 'rich', 'httpx'} & sys.modules.keys(), sys.modules.keys()"
    )
    for line in ("artgen txt2img x --scheduler eu", "artgen txt2img x -m sdx", "artgen config set ste"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "_ARTGEN_COMPLETE": "complete_fish", "_ARTGEN_LINE": line},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stderr == ""
        assert len(result.stdout.splitlines()) > 1


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_installed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_or_install(["--show-completion", shell])
    script = capsys.readouterr().out
    assert "complete_" + shell in script
    show_or_install(["--install-completion", shell])
    path = Path(capsys.readouterr().err.split("'")[1])
    assert path.read_text().strip() == script.strip()
    assert path.is_relative_to(Path.home())


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_unknown_shells_are_refused(option: str) -> None:
    with pytest.raises(UsageError) as caught:
        show_or_install([option, "tcsh"])
    assert "bash|zsh|fish" in caught.value.hint
    assert not list(Path.home().glob(".*"))
