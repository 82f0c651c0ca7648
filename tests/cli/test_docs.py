"""Run the commands and the Python code of README and docs, and check their links and options."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from artgen.cli.main import COMMAND_SUMMARIES, app
from artgen.errors import ModelUnavailableError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_DOWNLOAD = ("sdxl", "sd35-medium")
EXIT_MODEL_UNAVAILABLE = 4


def commands(page: Path) -> list[str]:
    """Return the artgen commands of a page, in order."""
    return re.findall(r"^    \$ artgen (.+?)(?:\s{2,}#.*)?$", page.read_text("utf-8"), re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder that contains what a reader has after the commands of README."""
    import huggingface_hub.constants  # noqa: F401 - it reads HF_HUB_OFFLINE once, for all tests of the process

    work = tmp_path / "reader"
    work.mkdir()
    (work / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(work)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return work


def test_readme_has_two_setup_commands_and_at_most_150_lines() -> None:
    readme = PAGES[0].read_text("utf-8")
    assert len(readme.splitlines()) <= 150
    assert readme.count("python3 -m venv") == 2
    for marker in ("install-and-generate", "install-and-test"):
        assert readme.count(f"<!-- {marker} -->\n\n    python3 -m venv") == 1


def test_each_command_is_documented() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES if page.name != "commands.md")
    missing = [name for name in COMMAND_SUMMARIES if not re.search(rf"artgen {name}\b", text)]
    assert not missing


def _arguments(line: str) -> list[str]:
    words = shlex.split(line)
    arguments = [name for word in words for name in ("*" in word and sorted(map(str, Path().glob(word)))) or [word]]
    if words[0] == "train" and "--dry-run" not in words:
        arguments += ["--train-steps", "2", "--snapshot-every", "0"]
    return arguments


def _prepare(page: Path) -> None:
    """Create the files that the commands of a page expect from an earlier page."""
    runner = CliRunner()
    fox = ["txt2img", "a red fox in the snow", "--seed", "7", "--steps", "1"]
    runner.invoke(app, [*fox, "-o", "outputs/00001-7-a-red-fox-in-the-snow.png"])
    for name, source in (("photo.png", "fox.png"), ("mask.png", "mask.png")):
        Path(name).write_bytes((ROOT / "examples" / "inputs" / source).read_bytes())
    if page.name == "models.md":
        runner.invoke(app, ["train", "examples/inputs/photos/", "-o", "my-style.safetensors", "--train-steps", "1"])


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=pytest.mark.slow) for page in PAGES if commands(page)]
)
def test_commands_of_the_page_run(page: Path, folder: Path) -> None:
    if page.name != "README.md":
        _prepare(page)
    runner = CliRunner()
    for line in commands(page):
        arguments = _arguments(line)
        if arguments[:2] == ["models", "alias"]:
            continue  # names a file of the reader
        is_pull = arguments[:2] == ["models", "pull"]
        uses_model = arguments[0] != "config" and arguments[:2] != ["models", "list"]
        needs_download = is_pull or (uses_model and any(word in NEEDS_DOWNLOAD for word in arguments))
        expected = EXIT_MODEL_UNAVAILABLE if needs_download else 0
        result = runner.invoke(app, arguments)
        assert result.exit_code == expected, f"artgen {line}\n{result.output}\n{result.stderr}"


def _blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.+?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def _pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if _blocks(page, language)]


@pytest.mark.parametrize("page", _pages_with("python"), ids=lambda page: page.stem)
def test_python_code_of_the_page_runs(page: Path, folder: Path) -> None:
    """Run all blocks of a page in one namespace, as a reader who copies them in order."""
    (folder / "fox.png").write_bytes((ROOT / "examples" / "inputs" / "fox.png").read_bytes())
    namespace: dict[str, object] = {}
    for block in _blocks(page, "python"):
        is_on_the_hub = re.search(r'model="[\w-]+/', block)
        with contextlib.suppress(ModelUnavailableError) if is_on_the_hub else contextlib.nullcontext():
            exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.slow
@pytest.mark.parametrize("page", _pages_with("sh"), ids=lambda page: page.stem)
def test_shell_code_of_the_page_runs(page: Path, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"ARTGEN_STEPS": "2", "ARTGEN_MODEL": "tiny", "PATH": path}
    for block in _blocks(page, "sh"):
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env={**os.environ, **settings}, check=True, timeout=900
        )


def _reader_commands(page: Path) -> list[str]:
    """Return the commands of a page that need files of the reader: they have no `$`."""
    text = re.sub(r"^```.+?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    return re.findall(r"^    artgen (.+?)(?:\s{2,}#.*)?$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "commands.md" and _reader_commands(page)],
    ids=lambda page: page.stem,
)
def test_commands_for_files_of_the_reader_are_valid(page: Path, folder: Path) -> None:
    """Check that only the missing files and models stop the commands."""
    runner = CliRunner()
    for line in _reader_commands(page):
        result = runner.invoke(app, [*_arguments(line), *(["--dry-run"] if line.startswith("txt2img") else [])])
        assert result.exit_code in (0, 3, EXIT_MODEL_UNAVAILABLE), f"artgen {line}\n{result.output}\n{result.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_the_page_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    ("page", "module", "function"),
    [
        ("commands.md", "generate_commands", "render"),
        ("record-fields.md", "generate_commands", "render_record_fields"),
        ("json.md", "generate_json", "render"),
        ("names-of-other-tools.md", "generate_names", "render"),
        ("supported-models.md", "generate_supported_models", "render"),
    ],
)
def test_generated_page_equals_the_code(page: str, module: str, function: str) -> None:
    """To update the pages, run `python docs/MODULE.py`."""
    result = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; sys.stdout.write({module}.{function}())"],
        cwd=ROOT / "docs", env={**os.environ, "TERM": "dumb"}, capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    assert result.stdout == (ROOT / "docs" / page).read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_options_of_the_page_exist(page: Path) -> None:
    from artgen.cli.help import EAGER_OPTIONS
    from artgen.cli.main import load_command

    known = {
        "--install-completion",
        "--show-completion",
        "--help",
        "--version",
        "--index-url",
        "--pip-args",
        "--upgrade",
    }
    known |= {"--ar", "--no", "--n-iter", "--sampler-name"}  # Lines of prompt files of other tools.
    known |= {"--before", "--upgrade"}  # A script of the tests, and pip.
    known |= {flag for option in EAGER_OPTIONS for flag in option.flags}

    def collect(command: object) -> None:
        for parameter in getattr(command, "params", ()):
            known.update(parameter.opts, parameter.secondary_opts)
        known.update(getattr(command, "flag_aliases", dict)())
        for child in getattr(command, "commands", {}).values():
            collect(child)

    for name in COMMAND_SUMMARIES:
        collect(load_command(name))
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]+", page.read_text("utf-8")))
    assert not {option.replace("_", "-") for option in used} - known
