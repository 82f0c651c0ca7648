"""Run the code of the page about the APIs of OpenAI and A1111."""

import re
from pathlib import Path

import pytest
from artgen_server import running_server
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "server-apis.md"


def test_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mask = Image.new("RGBA", (256, 256), "black")
    mask.paste((0, 0, 0, 0), (64, 64, 192, 192))
    mask.save("mask.png")
    blocks = re.findall(r"^```py\n(.+?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    with running_server(defaults={"model": "tiny", "steps": 2}) as url:
        for block in blocks:
            Path("fox.png").unlink(missing_ok=True)
            code = block.replace("7860", url.rpartition(":")[2]).replace("seed=7, width", "seed=7, steps=2, width")
            exec(compile(code, PAGE.name, "exec"), {})
            assert Image.open("fox.png").size == (256, 256)
