"""Test images that are read from stdin and pipes, and written to stdout and devices."""

import io
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import FAST, run, save_inputs
from PIL import Image
from pseudo_terminal import Terminal, artgen

from artgen import metadata

PNG = b"\x89PNG"


@pytest.fixture
def named_image() -> Iterator[Path]:
    """Return a named pipe from which one reader receives `in.png`."""
    save_inputs()
    path = Path("pipe")
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(Path("in.png").read_bytes()), daemon=True)
    writer.start()
    yield path
    writer.join(timeout=60)


READING_COMMANDS = [
    ("img2img", "IMAGE", "x", "-m", "tiny", *FAST, "--dry-run"),
    ("img2img", "-i", "IMAGE", "x", "-m", "tiny", *FAST, "--dry-run"),
    ("inpaint", "IMAGE", "x", "--mask", "mask.png", "-m", "tiny", *FAST, "--dry-run"),
    ("inpaint", "in.png", "x", "--mask", "IMAGE", "-m", "tiny", *FAST, "--dry-run"),
    ("outpaint", "IMAGE", "--expand", "8", "-m", "tiny", *FAST, "--dry-run"),
    ("denoise", "IMAGE", "--method", "tv"),
    ("noise", "IMAGE"),
    ("anomaly", "IMAGE", "--dry-run"),
    ("reconstruct", "IMAGE", "-m", "tiny"),
    ("sheet", "IMAGE"),
]


@pytest.mark.parametrize("arguments", READING_COMMANDS, ids=" ".join)
def test_commands_read_an_image_from_stdin(arguments: tuple[str, ...]) -> None:
    save_inputs()
    run(*("-" if each == "IMAGE" else each for each in arguments), input=Path("in.png").read_bytes())


@pytest.mark.parametrize("arguments", READING_COMMANDS, ids=" ".join)
def test_commands_read_an_image_from_a_pipe(arguments: tuple[str, ...], named_image: Path) -> None:
    run(*(str(named_image) if each == "IMAGE" else each for each in arguments))


@pytest.mark.parametrize("command", ["info", "replay"])
def test_metadata_is_read_from_stdin_and_pipes(command: str, sd1: str) -> None:
    run("txt2img", "a fox", "-m", "tiny", *FAST, "-o", "x.png")
    options = ("--dry-run",) if command == "replay" else ()
    data = Path("x.png").read_bytes()
    assert "a fox" in run(command, "-", *options, input=data).stdout
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, data), os.close(writer))).start()
    assert "a fox" in run(command, f"/dev/fd/{reader}", *options).stdout
    os.close(reader)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("img2img", "-", "-"), 2, "only one of"),
        (("inpaint", "-", "x", "--mask", "-"), 2, "only one of"),
        (("img2img", "-", "x", "--sweep", "strength=0.3,0.6"), 2, "several results"),
        (("denoise", "-", "in.png"), 2, "several results"),
    ],
)
def test_stdin_has_one_reader(arguments: tuple[str, ...], code: int, message: str) -> None:
    save_inputs()
    assert message in run(*arguments, code=code, input=Path("in.png").read_bytes()).stderr


@pytest.mark.parametrize("command", ["denoise", "info", "noise"])
@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"hello", "."), (b"\0" * 1000, "."), (PNG + b"\r\n\x1a\n", ".")]
)
def test_invalid_stdin_is_an_input_error(command: str, content: bytes, reason: str) -> None:
    assert reason in run(command, "-", code=3, input=content).stderr


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


SPECIAL_FILES: dict[str, Callable[[Path], None]] = {"pipe.png": os.mkfifo, "socket.png": _socket}


@pytest.mark.parametrize("name", ["socket.png", "/dev/null", "/dev/zero", "/dev/full"])
@pytest.mark.parametrize("command", ["denoise", "info", "noise", "replay", "anomaly", "sheet"])
def test_sockets_and_devices_are_refused(command: str, name: str) -> None:
    _socket(Path("socket.png"))
    assert "not a file or a pipe" in run(command, name, code=3).stderr


@pytest.mark.parametrize("name", SPECIAL_FILES)
@pytest.mark.parametrize(
    "arguments",
    [
        ("denoise", "folder", "--method", "tv", "-o", "out/"),
        ("anomaly", "folder", "--dry-run"),
        ("reconstruct", "folder", "-m", "tiny"),
        ("sheet", "folder"),
        ("train", "folder", "--resolution", "32", "-o", "x.safetensors", "--dry-run"),
        ("batch", "folder", "--task", "denoise", "--method", "tv", "-o", "out/"),
    ],
    ids=lambda value: value[0],
)
def test_special_files_in_folders_are_skipped(arguments: tuple[str, ...], name: str) -> None:
    Path("folder").mkdir()
    for number in range(2):
        Image.effect_noise((64, 64), 50).convert("RGB").save(f"folder/{number}.png")
    SPECIAL_FILES[name](Path("folder", name))
    SPECIAL_FILES[name](Path("folder/1.txt"))  # not a caption
    result = run(*arguments)
    assert "skipped" in result.stderr.lower()


def written(*arguments: str, code: int = 0, **kwargs: object) -> tuple[bytes, str]:
    """Run artgen in another process, and return what it writes to stdout and stderr."""
    process = artgen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    out, message = process.communicate(timeout=300)
    assert process.returncode == code, message
    return out, message.decode()


@pytest.mark.parametrize(("options", "format_name"), [((), "PNG"), (("--format", "jpeg"), "JPEG")])
@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_one_image_is_written_to_stdout(options: tuple[str, ...], format_name: str, output: str) -> None:
    data, message = written("txt2img", "a fox", "-m", "tiny", *FAST, "-o", output, *options, "--frames", "f.gif")
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == format_name
    assert "f.gif" in message
    Path("x").write_bytes(data)
    record = metadata.read_metadata(Path("x")).record or {}
    assert record["prompt"] == "a fox"
    assert sorted(path.name for path in Path().iterdir()) == ["f.gif", "x"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("denoise", "in.png", "--method", "tv"),
        ("denoise", "in.png", "--method", "tv", "--compare", "c.png"),
        ("noise", "in.png"),
        ("sheet", "in.png"),
        ("reconstruct", "in.png", "-m", "tiny"),
    ],
    ids=" ".join,
)
def test_other_commands_write_one_image_to_stdout(arguments: tuple[str, ...]) -> None:
    save_inputs()
    data, _ = written(*arguments, "-o", "-")
    Image.open(io.BytesIO(data)).load()
    assert data.endswith(b"IEND\xaeB\x60\x82")


def test_stream_in_memory_receives_the_image() -> None:
    """Replace standard output by a stream without a descriptor, as a program that runs artgen can do."""
    run("txt2img", "a fox", "-m", "tiny", *FAST, "-o", "fox.png")
    done = run("replay", "fox.png", "-o", "-")
    assert Image.open(io.BytesIO(done.stdout_bytes)).size == (128, 128)
    assert "Same pixels." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--json",), "--json"),
        (("--count", "2"), "one image"),
        (("--seed", "1,2"), "one image"),
        (("--sweep", "steps=1,2"), "not a folder"),
    ],
)
@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_stdout_takes_one_image(arguments: tuple[str, ...], message: str, output: str) -> None:
    result = run("txt2img", "x", "-m", "tiny", "-o", output, *arguments, code=2)
    assert message in result.stderr
    assert not list(Path().iterdir())


def test_batches_are_not_written_to_stdout() -> None:
    Path("prompts.txt").write_text("a fox\n")
    for output in ("-", "/dev/null"):
        assert "not a folder" in run("batch", "prompts.txt", "-m", "tiny", "-o", output, code=2).stderr


def test_images_are_not_written_to_a_terminal() -> None:
    terminal = Terminal("txt2img", "x", "-m", "tiny", "-o", "-")
    assert terminal.wait() == 2
    assert b"terminal" in terminal.output


@pytest.mark.parametrize(("device", "code"), [("/dev/null", 0), ("/dev/full", 74)])
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    "arguments", [("denoise", "in.png", "--method", "tv"), ("noise", "in.png"), ("sheet", "in.png")], ids=lambda v: v[0]
)
def test_devices_are_written_and_never_replaced(
    arguments: tuple[str, ...], overwrite: tuple[str, ...], device: str, code: int
) -> None:
    save_inputs()
    before = Path(device).stat()
    run(*arguments, "-o", device, *overwrite, code=code)
    assert Path(device).stat() == before
    assert not Path(f"{device}.png").exists()


def test_image_is_written_to_an_open_descriptor() -> None:
    save_inputs()
    with Path("out.png").open("wb") as file:
        run("denoise", "in.png", "--method", "tv", "-o", f"/dev/fd/{file.fileno()}")
    Image.open("out.png").load()


@pytest.mark.parametrize("name", SPECIAL_FILES)
@pytest.mark.parametrize("option", ["-o", "--compare"])
def test_pipes_and_sockets_are_never_replaced(name: str, option: str) -> None:
    save_inputs()
    SPECIAL_FILES[name](Path(name))
    before = Path(name).lstat()
    run("denoise", "in.png", "--method", "tv", option, name, "--overwrite", code=74)
    assert Path(name).lstat() == before


def test_pipe_without_a_writer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.system import external_data

    monkeypatch.setattr(external_data, "PIPE_IDLE_SECONDS", 0.2)
    os.mkfifo("pipe.png")
    assert "sent no data" in run("info", "pipe.png", code=3).stderr


def test_silent_stdin_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.system import input_files

    monkeypatch.setattr(input_files, "STDIN_SECONDS", 0.2)
    reader, writer = os.pipe()
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        from artgen.cli.main import app

        with pytest.raises(SystemExit) as exited:
            app(["info", "-"], prog_name="artgen")
    os.close(writer)
    assert exited.value.code == 3


@pytest.mark.parametrize("arguments", [("info", "-"), ("denoise", "-"), ("txt2img", "-", "--dry-run")], ids=" ".join)
def test_closed_and_endless_stdin_are_input_errors(arguments: tuple[str, ...]) -> None:
    _, message = written(*arguments, code=3, preexec_fn=lambda: os.close(0))
    assert "standard input: it is closed" in message
    with Path("/dev/zero").open("rb") as zero:
        _, message = written(*arguments, code=3, stdin=zero)
    assert "too large" in message
