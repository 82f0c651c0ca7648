"""Test reading a data set: captions, metadata files, errors and the datasheet."""

import json
from pathlib import Path
from typing import Any

import pytest
from training_folders import load_dataset, save_image, write_file, write_jsonl

from artgen.dataset import datasheet, read
from artgen.dataset.read import DatasetError, read_dataset
from artgen.errors import InputFileError, UsageError
from artgen.spec.settings import DatasetSettings


def captions(**settings: Any) -> dict[str, str]:
    return {each.name: each.caption for each in load_dataset(**settings).images}


def test_captions_come_from_the_most_specific_source() -> None:
    for seed, name in enumerate(["a.png", "b.png", "c.png", "monet/water_lilies-02.jpg", "monet/IMG_0001.jpg"]):
        save_image(name, seed)
    write_file("a.txt", "two\r\nlines\n")
    write_jsonl("metadata.jsonl", {"file_name": "a.png", "text": "ignored"}, {"file_name": "b.png", "text": "a table"})
    write_jsonl("provenance.jsonl", {"file_name": "b.png", "text": "no"}, {"file_name": "c.png", "text": "a source"})
    from_paths = {"monet/water_lilies-02.jpg": "water lilies, monet", "monet/IMG_0001.jpg": "monet"}
    assert captions() == {"a.png": "two lines", "b.png": "a table", "c.png": "a source", **from_paths}
    templated = captions(caption_template="{stem} by {folder}")
    assert templated["monet/water_lilies-02.jpg"] == "water lilies 02 by monet"
    assert templated["a.png"] == "two lines"


def test_one_exception_reports_all_errors() -> None:
    save_image("a.png")
    save_image("b.png", 1)
    write_file("a.txt", b"caf\xe9")
    write_file("metadata.jsonl", b'{"file_name": "b.png", "text": 5}\n\nnot json\n[1]\n{"text": "x"}\n\xff\n')
    write_jsonl("provenance.jsonl", {"file_name": "b.png"}, {"file_name": "./b.png"})
    with pytest.raises(DatasetError) as caught:
        load_dataset()
    starts = [message.split(" ")[0] for message in caught.value.errors]
    expected = [f"metadata.jsonl:{line}:" for line in (1, 3, 4, 5, 6)]
    assert sorted(starts) == ["a.txt:", *expected, "provenance.jsonl:2:"]
    assert "7 errors" in caught.value.message


@pytest.mark.parametrize("template", ["{style}", "{}", "{folder!r}", "{stem:>9}", "{folder.parent}", "{folder", "x}"])
def test_invalid_caption_template_is_rejected(template: str) -> None:
    save_image("a.png")
    with pytest.raises(UsageError, match="caption template"):
        load_dataset(caption_template=template)


def test_missing_or_empty_folder_is_rejected() -> None:
    with pytest.raises(UsageError):
        read_dataset(DatasetSettings())
    with pytest.raises(InputFileError, match="does not exist"):
        load_dataset()
    write_file("a.txt", "words")
    with pytest.raises(InputFileError, match="no image"):
        load_dataset()


def test_datasheet_hash_depends_only_on_the_data_set(tmp_path: Path) -> None:
    save_image("a|b.png")
    dataset = load_dataset()
    sheet = datasheet.write_datasheet(dataset, tmp_path / "datasheet.md", run_info={"model": "tiny"})
    assert read.open_training_image(dataset.images[0]).size == (160, 120)
    assert json.loads(sheet.json_path.read_text())["examples"][0]["sha256"] == dataset.images[0].sha256
    assert datasheet.write_datasheet(dataset, tmp_path / "again.md", run_info={"model": "tiny"}).sha256 == sheet.sha256
    assert "a\\|b.png" in sheet.markdown_path.read_text() or "a|b.png" not in sheet.markdown_path.read_text()
