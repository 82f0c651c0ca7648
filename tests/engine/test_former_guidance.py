"""Test that records of earlier versions, in which guidance had no effect on a model, replay with the same pixels."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest

from artgen import Txt2Img, generate, replay


@pytest.mark.parametrize(
    ("name", "former", "equivalent", "note"),
    [
        ("flux-schnell", {"guidance_scale": 3.5}, {}, "The recorded guidance_scale is ignored"),
        ("flux-schnell", {"negative_prompt": "0"}, {}, "The recorded negative_prompt is ignored"),
        ("flux-dev", {"negative_prompt": "0"}, {}, "An earlier version of artgen"),
        ("qwen-image", {"guidance_scale": 7.5}, {"guidance_scale": 1.0}, "An earlier version of artgen"),
        (
            "qwen-image",
            {"guidance_scale": 7.5, "negative_prompt": "0"},
            {"guidance_scale": 4.0, "negative_prompt": "0"},
            "An earlier version of artgen",
        ),
    ],
)
def test_records_of_earlier_versions_replay_with_the_same_pixels(
    zoo: Mapping[str, Path], name: str, former: dict[str, Any], equivalent: dict[str, Any], note: str
) -> None:
    settings: dict[str, Any] = {
        "prompt": "a red fox",
        "seed": 7,
        "steps": 2,
        "device": "cpu",
        "width": 64,
        "height": 64,
    }
    expected = generate(Txt2Img(model=str(zoo[name]), **settings, **equivalent))
    record = {**expected.record, **former}
    record.pop("true_cfg_scale", None)
    if name == "qwen-image":
        record["architecture"] = "other"
    Path("fox.json").write_text(json.dumps(record))
    log = plain.EventLog()
    replayed = replay(Path("fox.json"), model=str(zoo[name]), listener=log)
    assert replayed.image.tobytes() == expected.image.tobytes()
    assert any(note in text for text in log.notes)


@pytest.mark.parametrize("name", ["flux-dev", "qwen-image", "flux-schnell", "sana", "kandinsky3"])
def test_new_records_replay_without_notes_about_guidance(zoo: Mapping[str, Path], name: str) -> None:
    negative = {} if name == "flux-schnell" else {"negative_prompt": "0"}
    image = generate(
        Txt2Img(prompt="fox", model=str(zoo[name]), seed=7, steps=2, device="cpu", width=64, height=64, **negative)
    )
    Path("fox.json").write_text(json.dumps(image.record))
    log = plain.EventLog()
    replayed = replay(Path("fox.json"), model=str(zoo[name]), listener=log)
    assert replayed.image.tobytes() == image.image.tobytes()
    assert not any("ignored" in text or "earlier version" in text for text in log.notes)
