"""Test that the A1111 text of a record has the meaning of the record, for artgen's reader and for sd-parsers."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sd_parsers import ParserManager

from artgen import metadata

RECORD: dict[str, Any] = {
    "task": "txt2img", "prompt": "a (red:1.2) fox", "negative_prompt": "[bad]", "prompt_weights": "a1111", "seed": 7,
    "steps": 4, "scheduler": "euler", "guidance_scale": 7.5, "width": 16, "height": 16, "model": "tiny",
    "architecture": "sd1", "artgen": "0.1",
}  # fmt: skip
PARSED: list[Image.Image] = []
"""sd-parsers caches results by `id(image)`, so the images must stay alive."""


@pytest.mark.parametrize(
    ("changes", "pair"),
    [
        ({"clip_skip": 2}, "Clip skip: 2"),
        ({"guidance_rescale": 0.7}, "Guidance rescale: 0.7"),
        ({"pag_scale": 3.0}, "PAG scale: 3"),
        ({"variation_seed": 9, "variation_strength": 0.25}, "Variation seed: 9, Variation seed strength: 0.25"),
        ({"prompt_weights": "none"}, "Emphasis: None"),
        ({"architecture": "sdxl"}, "Emphasis: No norm"),
        ({"prompt_weights": "comfy"}, "Prompt weights: comfy"),
        (
            {"prompt": "a (red:1.2) fox, ugly", "embedding": ["ugly.safetensors"], "embedding_sha256": ["ab" * 32]},
            'TI hashes: "ugly: abababababab"',
        ),
        ({"lora": ["a.safetensors:0.5:0.2"], "lora_autov3": ["0123456789ab"]}, 'Lora hashes: "a: 0123456789ab"'),
        ({}, "RNG: CPU"),
    ],
)
def test_each_setting_has_its_field(changes: dict[str, Any], pair: str, tmp_path: Path) -> None:
    record = {**RECORD, **changes}
    text = metadata.format_a1111(record)
    assert f", {pair}, " in text.rpartition("\n")[2] + ", "
    assert metadata.format_a1111(RECORD).count("Emphasis") == 0
    found = metadata.parse_a1111(text)
    assert found.fields["prompt_weights"] == record["prompt_weights"]
    for name in ("prompt", "negative_prompt", "seed", "steps", "clip_skip", "guidance_rescale", "variation_seed"):
        assert found.fields.get(name) == record.get(name)
    assert [lora.digest for lora in found.loras] == record.get("lora_autov3", [])
    assert [each.digest for each in found.embeddings] == [each[:12] for each in record.get("embedding_sha256", [])]
    for kind in ("png", "jpeg", "webp"):
        path = tmp_path / f"fox.{kind}"
        Image.new("RGB", (4, 4)).save(path, kind, **metadata.image_save_args(record, kind).save_kwargs)
        PARSED.append(Image.open(path))
        info = ParserManager().parse(PARSED[-1])
        assert info is not None
        (sampler,) = info.samplers
        assert sampler.prompts[0].value.startswith("a (red:1.2) fox")
        assert [prompt.value for prompt in sampler.negative_prompts] == ["[bad]"]
        assert (sampler.name, sampler.parameters["seed"], sampler.parameters["steps"]) == ("Euler", "7", "4")


@pytest.mark.parametrize("rule", ["a1111", "comfy", "none"])
def test_prompts_without_syntax_have_no_rule(rule: str) -> None:
    record = {**RECORD, "prompt": "a red fox", "negative_prompt": "", "prompt_weights": rule, "architecture": "sdxl"}
    assert "Emphasis" not in metadata.format_a1111(record)
    assert "Prompt weights" not in metadata.format_a1111(record)


@pytest.mark.parametrize(
    "changes", [{"clip_skip": 1}, {"clip_skip": None}, {"guidance_rescale": 0.0}, {"pag_scale": 0}]
)
def test_neutral_settings_have_no_field(changes: dict[str, Any]) -> None:
    assert metadata.format_a1111({**RECORD, **changes}) == metadata.format_a1111(RECORD)


def test_old_records_and_damaged_values_are_written() -> None:
    deep = {**RECORD, "prompt": "(" * 5000, "embedding": ["", 3], "embedding_sha256": [None, None]}
    assert "Steps: 4" in metadata.format_a1111(deep)
    old = {name: value for name, value in RECORD.items() if name not in ("prompt_weights", "architecture")}
    assert "Emphasis" not in metadata.format_a1111(old)
