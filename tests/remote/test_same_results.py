"""Compare the results of commands on a server with those of the same commands on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run, save_inputs
from PIL import Image
from remote_server import RunningServer, running_server

from artgen.images import load_lossless
from artgen.metadata import read_metadata

TINY = ("-m", "tiny", "--steps", "2", "--seed", "7")

COMMANDS: dict[str, tuple[str, ...]] = {
    "txt2img": ("txt2img", "a {red|blue} fox", *TINY, "-n", "car"),
    "best of": ("txt2img", "a fox", *TINY, "--best-of", "2", "--batch-size", "1"),
    "style": ("txt2img", "a fox <b>", *TINY, "--style", "oil", "--scheduler", "euler"),
    "control": ("txt2img", "a fox", *TINY, "--control", "canny=in.png,scale=0.5"),
    "img2img": ("img2img", "in.png", "a fox", *TINY, "--strength", "0.9"),
    "recorded prompt": ("img2img", "fox.png", *TINY, "--strength", "0.9"),
    "inpaint": ("inpaint", "gray.png", "a fox", *TINY, "--mask", "mask.png"),
    "outpaint": ("outpaint", "in.png", "a fox", *TINY, "--expand", "16"),
    "denoise": ("denoise", "deep.png", "--method", "tv"),
    "upscale": ("upscale", "deep.png", "--by", "2"),
    "redraw": ("upscale", "in.png", "--by", "2", "--method", "redraw", "--strength", "0.5", *TINY),
    "model": ("upscale", "in.png", "--by", "2", "--method", "model"),
    "replay": ("replay", "fox.png"),
    "replay with a change": ("replay", "fox.png", "--set", "steps=1"),
    "variations": ("variations", "fox.png", "--count", "1", "--seed", "3"),
    "variations of a photo": (
        "variations",
        "in.png",
        "--count",
        "1",
        "--seed",
        "3",
        "--amount",
        "0.5",
        "--set",
        "steps=2",
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    save_inputs()
    Path("styles.csv").write_text("name,prompt\noil,an oil painting of {a|two} (cats:1.2)\n")
    monkeypatch.setenv("ARTGEN_STYLE_FOLDER", "styles.csv")
    Image.effect_noise((33, 47), 50).save("gray.png")
    deep = Image.new("I;16", (24, 16))
    deep.putdata([(i * 997) % 65536 for i in range(24 * 16)])
    deep.save("deep.png", dpi=(72, 72))
    run("txt2img", "a red fox", *TINY, "-o", "fox.png")


def read_results(folder: str) -> list[tuple[Any, ...]]:
    """Return the pixels, the attributes and the record of each image of a folder."""
    found = []
    for path in sorted(Path(folder).glob("*.png")):
        loaded = load_lossless(path)
        low = loaded.low_bytes.tobytes() if loaded.low_bytes else None
        record = read_metadata(path).record
        found.append((path.name, loaded.image.mode, loaded.image.tobytes(), low, loaded.image.info, record))
    return found


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("name", COMMANDS)
def test_server_gives_the_same_pixels_and_records(name: str, server: RunningServer) -> None:
    command = COMMANDS[name]
    run(*command, "-o", "local/")
    result = run(*command, "-o", "remote/", "--server", server.address)
    assert read_results("remote") == read_results("local") != []
    assert result.stdout.splitlines() == [str(path) for path in sorted(Path("remote").glob("*.png"))]
