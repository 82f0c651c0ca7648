"""Test the text of AUTOMATIC1111 in the variants of its tools, and by hand."""

import pytest

from artgen import metadata
from artgen.metadata.tools import read_external

PARAMS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"

TEXTS: dict[str, tuple[str, dict[str, object]]] = {
    "template": (f"fox\n{PARAMS}\nTemplate: {{a|b}}\nand more\nNegative Template: x", {"height": 512}),
    "indented": (f"  fox\n  Negative prompt: bad\n  {PARAMS}", {"negative_prompt": "bad"}),
    "one line": (f"fox Negative prompt: bad {PARAMS}", {"negative_prompt": "bad"}),
    "one line without negative prompt": (f"fox {PARAMS}", {"negative_prompt": None}),
    "one line, then templates": (f"fox {PARAMS}\nTemplate: fox", {"height": 512}),
    "wrapped": (f"fox\n{PARAMS.replace(', CFG', ',' + chr(10) + 'CFG')}", {"guidance_scale": 7.0}),
    "wrapped without a comma": (f"fox\n{PARAMS.replace(', CFG', chr(10) + 'CFG')}", {"scheduler": "Euler a"}),
    "quoted": (f"> fox\n> Negative prompt: bad\n> {PARAMS}", {"negative_prompt": "bad"}),
    "code block": (f"```\nfox\nNegative prompt: bad\n{PARAMS}\n```", {"negative_prompt": "bad"}),
    "second of two": (f"cat\n{PARAMS}\n\nfox\nNegative prompt: bad\n{PARAMS}", {"negative_prompt": "bad"}),
    "lower case": (f"fox\nnegative prompt: bad\n{PARAMS}", {"negative_prompt": "bad"}),
    "carriage returns": (f"fox\r\nNegative prompt: bad\r\n{PARAMS}\r\n", {"negative_prompt": "bad"}),
    "without spaces": (f"fox\n{PARAMS.replace(', ', ',')}", {"guidance_scale": 7.0}),
    "automatic": ("fox\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Automatic, Seed: 5", {"sigmas": "karras"}),
    "automatic euler": (f"fox\n{PARAMS}, Schedule type: Automatic", {"sigmas": None}),
    "old karras": ("fox\nSteps: 20, Sampler: DPM++ 2M Karras, Seed: 5", {"scheduler": "DPM++ 2M", "sigmas": "karras"}),
    "flux": (f"fox\n{PARAMS}, Distilled CFG Scale: 3.5, Version: f2.0.1", {"guidance_scale": 3.5}),
    "clip skip": (f"fox\n{PARAMS}, Clip skip: 2", {"clip_skip": 2}),
    "undefined": (f"fox\n{PARAMS.replace('Euler a', 'Undefined')}", {"scheduler": None}),
    "emphasis none": (f"fox\n{PARAMS}, Emphasis: None", {"prompt_weights": "none"}),
    "comfy node": (f"fox\n{PARAMS}, Version: ComfyUI", {"prompt_weights": "comfy"}),
    "rescale": (f"fox\n{PARAMS}, CFG Rescale phi: 0.7", {"guidance_rescale": 0.7}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a1111_text_variants_are_read(name: str) -> None:
    text, changes = TEXTS[name]
    record = read_external({"parameters": text})
    assert record is not None
    for field, value in {"prompt": "fox", "steps": 20, "seed": 5, **changes}.items():
        assert record.fields.get(field) == value, field
    if "Template" in text:
        assert record.other["Template"].startswith(("{a|b}\nand more", "fox"))


@pytest.mark.parametrize(
    ("parameter", "feature"),
    [
        ('ControlNet 0: "Module: canny, Weight: 1.0"', "ControlNet"),
        ("Variation seed: 7", "variation seed"),
        ("ENSD: 31337", "sampler options"),
        ("Eta: 0.5", "sampler options"),
        ("RNG: NV", "noise source"),
        ("RNG: GPU", "noise source"),
        ("Refiner: xl [ab]", "refiner"),
        ("Token merging ratio: 0.5", "token merging"),
        ("VAE: a.pt", "VAE"),
        ("Module 1: ae", "text encoder and VAE files"),
        ("Hypernet: a", "hypernetwork"),
        ("Face restoration: CodeFormer", "face restoration"),
        ("ADetailer model: x", "ADetailer"),
        ("Emphasis: No norm", "emphasis"),
        ("First pass size: 256x256", "hires fix"),
        ("FreeU Stages: x", "FreeU"),
    ],
)
def test_features_of_a1111_text_are_named(parameter: str, feature: str) -> None:
    record = read_external({"parameters": f"fox\n{PARAMS}, {parameter}"})
    assert record is not None
    assert [each.name for each in record.features] == [feature]
    assert parameter.partition(": ")[2].strip('"') in record.features[0].value


def test_hashes_of_loras_and_embeddings_are_read() -> None:
    text = (
        f'fox <lora:a:0.5> <lora:b:0.5:0.7>, easy\nNegative prompt: NEG\n{PARAMS}, Lora hashes: "a: 0123456789ab", '
        'TI hashes: "easy: 0123456789ab", '
        'Hashes: {"lora:b": "0123456789", "embed:neg": "abcdef0123", "model": "00"}, AddNet Model 1: c(0123456789ab), '
        'AddNet Weight 1: 0.3, Civitai resources: [{"type": "lora", "weight": 0.8, "modelName": "d"}, {"type": "x"}]'
    )
    record = read_external({"parameters": text})
    assert record is not None
    assert record.fields["prompt"] == "fox , easy"
    assert record.loras == (
        metadata.RecordedFile("a", "0123456789ab", 0.5),
        metadata.RecordedFile("b", "0123456789", 0.7, 0.5),
        metadata.RecordedFile("c", "0123456789ab", 0.3),
        metadata.RecordedFile("d", "", 0.8),
    )
    assert {(each.name, each.digest) for each in record.embeddings} == {("easy", "0123456789ab"), ("neg", "abcdef0123")}


def test_hashes_without_a_tag_or_a_name_in_the_prompts_are_named() -> None:
    hashes = 'Lora hashes: "foo: abcdef012345", TI hashes: "easy: 0123456789ab", Hashes: {"lora:bar": "0123456789"}'
    record = read_external({"parameters": f"fox\n{PARAMS}, {hashes}"})
    assert record is not None
    assert (record.loras, record.embeddings) == ((), ())
    features = {feature.name: feature.value for feature in record.features}
    assert features["LoRA without a tag"] == "bar: 0123456789, foo: abcdef012345"
    assert features["embedding that no prompt names"] == "easy"
    record = read_external({"parameters": f"fox <hypernet:h:1> <lora:x:99>\n{PARAMS}"})
    assert record is not None
    assert record.fields["prompt"] == "fox"
    assert [feature.name for feature in record.features] == ["hypernetwork", "LoRA tag"]


def test_what_is_not_used_of_a_text_has_a_note() -> None:
    for text, note in (
        (f"cat\n{PARAMS}\n\nfox\n{PARAMS}", "several prompts"),
        (f"fox\n{PARAMS}, Seed: 9", "several values, of which the last one is used: Seed."),
        (f"fox\n{PARAMS}, Seed: 5", ""),
    ):
        record = read_external({"parameters": text})
        assert record is not None
        assert note in " ".join(record.notes)
        assert bool(record.notes) == bool(note)
