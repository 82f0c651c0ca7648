"""Folders of pictures to learn from: what is found, what is used, and why the rest is not."""

import json
from pathlib import Path
from typing import Any

import pytest
from training_folders import lines, load, save, write

from artgen.dataset import datasheet, read
from artgen.dataset.read import DatasetError, read_dataset
from artgen.errors import InputFileError, UsageError
from artgen.spec.settings import DatasetSettings


def captions(**settings: Any) -> dict[str, str]:
    return {each.name: each.caption for each in load(**settings).images}


def test_captions_come_from_the_nearest_source() -> None:
    for seed, name in enumerate(["a.png", "b.png", "c.png", "monet/water_lilies-02.jpg", "monet/IMG_0001.jpg"]):
        save(name, seed)
    write("a.txt", "beside\r\nit\n")
    lines("metadata.jsonl", {"file_name": "a.png", "text": "passed over"}, {"file_name": "b.png", "text": "a table"})
    lines("provenance.jsonl", {"file_name": "b.png", "text": "no"}, {"file_name": "c.png", "text": "a source"})
    made = {"monet/water_lilies-02.jpg": "water lilies, monet", "monet/IMG_0001.jpg": "monet"}
    assert captions() == {"a.png": "beside it", "b.png": "a table", "c.png": "a source", **made}
    painted = captions(caption_template="{stem} by {folder}")
    assert painted["monet/water_lilies-02.jpg"] == "water lilies 02 by monet"
    assert painted["a.png"] == "beside it"


def test_every_mistake_is_told_at_once() -> None:
    save("a.png")
    save("b.png", 1)
    write("a.txt", b"caf\xe9")
    write("metadata.jsonl", b'{"file_name": "b.png", "text": 5}\n\nnot json\n[1]\n{"text": "x"}\n\xff\n')
    lines("provenance.jsonl", {"file_name": "b.png"}, {"file_name": "./b.png"})
    with pytest.raises(DatasetError) as caught:
        load()
    starts = [mistake.split(" ")[0] for mistake in caught.value.mistakes]
    wrong = [f"metadata.jsonl:{line}:" for line in (1, 3, 4, 5, 6)]
    assert sorted(starts) == ["a.txt:", *wrong, "provenance.jsonl:2:"]
    assert "7 mistakes" in caught.value.message
    assert "Mend" in caught.value.hint


@pytest.mark.parametrize("template", ["{style}", "{}", "{folder!r}", "{stem:>9}", "{folder.parent}", "{folder", "x}"])
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    save("a.png")
    with pytest.raises(UsageError, match="caption template"):
        load(caption_template=template)


def test_no_folder_no_pictures() -> None:
    with pytest.raises(UsageError):
        read_dataset(DatasetSettings())
    with pytest.raises(InputFileError, match="does not exist"):
        load()
    write("a.txt", "words")
    with pytest.raises(InputFileError, match="no picture"):
        load()


def test_a_datasheet_is_written_and_its_hash_is_that_of_its_data(tmp_path: Path) -> None:
    save("a|b.png")
    found = load()
    sheet = datasheet.write_datasheet(found, tmp_path / "datasheet.md", run_info={"model": "tiny"})
    assert read.open_training_image(found.images[0]).size == (160, 120)
    assert json.loads(sheet.json_path.read_text())["examples"][0]["sha256"] == found.images[0].sha256
    assert datasheet.write_datasheet(found, tmp_path / "again.md", run_info={"model": "tiny"}).sha256 == sheet.sha256
    assert "a\\|b.png" in sheet.markdown_path.read_text() or "a|b.png" not in sheet.markdown_path.read_text()
