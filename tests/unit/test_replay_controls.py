"""Test the notes of `replay` about ControlNets and IP-Adapters in the metadata of other tools."""

from pathlib import Path

import pytest

from artgen.jobs.replay_controls import unit_notes
from artgen.metadata.features import make_feature
from artgen.metadata.tools.a1111 import parse_a1111
from artgen.spec.control import parse_control
from artgen.spec.image_prompt import parse_image_prompt

HEAD = "a fox\nSteps: 20, Seed: 1, Size: 512x512, "
UNITS = (
    'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 0.8, Resize Mode: Crop and '
    'Resize, Guidance Start: 0, Guidance End: 0.6, Control Mode: Balanced", ControlNet 1: "Module: '
    'ip-adapter_clip_sd15, Model: ip-adapter_sd15 [6a3f6166], Weight: 0.5, Guidance Start: 0, Guidance End: 1"'
)
MAP = 'ControlNet 0: "Module: none, Model: control_v11p_sd15_openpose [cab727d4], Weight: 1, Guidance End: 1"'
OLD = "ControlNet-0 Enabled: True, ControlNet-0 Module: depth, ControlNet-0 Model: control_depth [aa], "
OLD += "ControlNet-0 Weight: 0.7, ControlNet-0 Guidance Start: 0.2"
FIRST = "ControlNet Enabled: True, ControlNet Preprocessor: hed, ControlNet Model: control_hed [aa], "
FIRST += "ControlNet Weight: 0.7"


def set_texts(notes: list[str]) -> list[str]:
    texts = [note.split("add --set '")[1].split("'")[0] for note in notes]
    for text in texts:
        setting, _, value = text.partition("=")
        (parse_control if setting == "control" else parse_image_prompt)(value)
    return texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UNITS, ["control=canny=PATH,scale=0.8,until=0.6", "image_prompt=PATH:0.5"]),
        (MAP, ["control=raw=PATH,model=pose"]),
        (OLD, ["control=depth=PATH,scale=0.7,from=0.2"]),
        (FIRST, ["control=raw=PATH,scale=0.7,model=NET"]),
    ],
)
def test_note_of_a1111_contains_the_value(text: str, expected: list[str]) -> None:
    features = parse_a1111(HEAD + text).features
    assert set_texts([note for each in features for note in unit_notes(Path("a.png"), each, {})]) == expected
    changes = {"control": "x", "image_prompt": "x"}
    assert [note for each in features for note in unit_notes(Path("a.png"), each, changes)] == []


def test_note_of_comfyui_names_the_image() -> None:
    Path("pose.png").touch()
    net = make_feature("ControlNet", "control_openpose.safetensors, strength 0.8, end_percent 0.5, image pose.png")
    edges = make_feature("ControlNet", "canny.safetensors, strength 1.0, preprocessor Canny, image photo.png")
    style = make_feature("IP-Adapter", "weight 0.5, preset PLUS, image style.png")
    notes = [note for each in (net, edges, style) for note in unit_notes(Path("a.png"), each, {})]
    expected = ["control=raw=pose.png,scale=0.8,until=0.5,model=pose", "control=canny=PATH", "image_prompt=PATH:0.5"]
    assert set_texts(notes) == expected
    assert "style.png" in notes[2]
