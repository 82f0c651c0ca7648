"""Test the conversion of requests to records and back."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artgen import Txt2Img
from artgen._version import RECORD_SCHEMA
from artgen.errors import UsageError
from artgen.spec.base_requests import ImageRequest, PromptRequest, Request
from artgen.spec.lora import LoraSpec
from artgen.spec.record_notes import record_notes
from artgen.spec.records import JSON_ONLY_KEYS, MAX_UNKNOWN_BYTES, PROVENANCE_FIELDS, from_record, to_record
from artgen.spec.requests import TASKS, Edit, Inpaint, Outpaint
from artgen.spec.restoration_requests import Denoise, Upscale
from artgen.spec.schedulers import SCHEDULERS
from artgen.spec.settings import options_of, settings_of, type_of

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
FILE = st.text(st.sampled_from("abc xyz-_0éß漢字.👀"), min_size=1, max_size=12).filter(lambda name: name.strip(". "))
SPACED = [entry.name for entry in SCHEDULERS if entry.supports_sigmas]
LORA = st.builds(LoraSpec, FILE, st.floats(-10, 10), st.none() | st.floats(-10, 10)).map(str)
CONTROL = st.sampled_from(["canny=a.png", "depth=b.png,scale=0.5,until=0.6", "raw=c.png,from=0.2,model=own/net"])
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:3", "mps"]),
    "scheduler": st.none() | st.sampled_from(SPACED),
    "filter": st.lists(st.sampled_from(["strict", "a"]), max_size=2, unique=True).map(tuple),
    "fast": st.none() | st.sampled_from(["none", "cache", "tiny-decoder+Cache"]),
    "target_size": st.none(),
    "expand": st.sampled_from(["64", "left=8,top=16"]),
    "offline": st.booleans(),
    "lora": st.lists(LORA, max_size=3).map(tuple),
    "preset": st.lists(FILE, max_size=3).map(tuple),
    "style": st.lists(FILE, max_size=3).map(tuple),
    "control": st.lists(CONTROL, max_size=2).map(tuple),
    "image_prompt": st.lists(
        st.sampled_from(["a.png", "b.png:0.5,mask=m.png", "c.png,model=sd15-plus"]), max_size=2
    ).map(tuple),
    "embedding": st.lists(FILE, max_size=3).map(tuple),
    "morph_seed": st.none() | st.sampled_from(["7", "7:12:0.25"]),
    "memory_budget": st.none() | st.sampled_from(["8GiB", "6500MB"]),
    "invert": st.just(False),
    "soft_mask": st.just(False),
    "source_prompt": st.just(""),
    "mask_text": st.none(),
    "mask_model": st.none(),
    "mask_threshold": st.none(),
    "grow": st.none(),
    "save_mask": st.none(),
    "best_of": st.none() | st.just(1),
    "score": st.none(),
    "score_model": st.none(),
    "hires": st.none(),
    "hires_in": st.none(),
    "hires_model": st.none(),
    "hires_steps": st.none(),
    "reference": st.lists(FILE.filter(lambda name: name != "-"), max_size=2).map(tuple),
    "refiner": st.none() | st.sampled_from(["sdxl-refiner", "owner/refiner@v1:0.75", "C:/refiner:0.5"]),
}


def value_of(cls: type[Request], name: str) -> st.SearchStrategy[Any]:
    if name in SPECIAL:
        return SPECIAL[name]
    kind, optional = type_of(cls, name)
    spec = options_of(cls)[name].metadata["setting"]
    values: st.SearchStrategy[Any]
    if spec.choices:
        values = st.sampled_from(spec.choices)
    elif kind is bool:
        values = st.booleans()
    elif kind is int:
        values = st.integers(int(spec.minimum), int(spec.maximum))
    elif kind is float:
        values = st.floats(spec.minimum, spec.maximum)
    elif kind is Path:
        values = FILE.map(Path)
        optional = False
    else:
        values = TEXT
    return st.none() | values if optional else values


def requests(cls: type[Request]) -> st.SearchStrategy[Request]:
    values = {name: value_of(cls, name) for name in options_of(cls)}
    if cls is Edit:
        values["prompt"] = TEXT.filter(str.strip)
    if "lora" not in values:
        return st.builds(cls, **values)
    # LoRAs and 8-bit weights exclude each other, and so do strength and inversion, and the details of inpainting.
    found = st.builds(cls, **values | {"quantize": st.none()}) | st.builds(cls, **values | {"lora": st.just(())})
    for exclusive in (
        {"invert": st.just(True), "strength": st.none(), "source_prompt": TEXT, "best_of": st.none()},
        {
            "hires": st.floats(1.001, 8).map("{:g}".format) | st.sampled_from(["1.5:0.55", "x2", "4:1"]),
            "hires_in": st.none() | st.just("pixel"), "hires_model": st.none() | FILE,
            "hires_steps": st.none() | st.integers(1, 1000),
        },
        {"soft_mask": st.just(True), "only_masked": st.none(), "fill": st.just("original")},
        {
            "mask": st.none(), "mask_text": st.sampled_from(["dog", "a dog AND NOT (red collar{+8} OR cat{*1.5})"]),
            "mask_model": st.sampled_from([None, "clipseg", "owlv2"]), "grow": st.none() | st.integers(-9, 9),
            "mask_threshold": st.none() | st.floats(0.001, 1), "resize_mask": st.just(False),
        },
        {
            "best_of": st.integers(1, 64), "score": st.just("clip"),
            "score_model": st.none() | st.sampled_from(["clip", "owner/name"]),
        },
    ):  # fmt: skip
        if exclusive.keys() <= values.keys():
            if "score" in exclusive and "strength" in values:  # strength 0 gives equal images
                exclusive = {**exclusive, "strength": st.floats(0.001, 1)}
            found |= st.builds(cls, **values | {"lora": st.just(())} | exclusive)
    return found


def denoise_requests() -> st.SearchStrategy[Request]:
    """Generate requests of the method `pixel`, which supports all settings except `lora`."""
    values = {name: value_of(Denoise, name) for name in options_of(Denoise)}
    sigma = st.none() | st.sampled_from(["auto", "AUTO * 1.2"]) | st.floats(0, 255).map("{:.3f}".format)
    return st.builds(
        Denoise, **{**values, "method": st.sampled_from([None, "pixel"]), "sigma": sigma, "lora": st.just(())}
    )


def upscale_requests() -> st.SearchStrategy[Request]:
    """Generate requests of the method `redraw`, which supports most settings."""
    values = {name: value_of(Upscale, name) for name in options_of(Upscale)} | {
        "method": st.just("redraw"), "upscale_model": st.none(), "refiner": st.none(), "lora": st.just(()),
    }  # fmt: skip
    return st.builds(Upscale, **values | {"by": st.none()}) | st.builds(Upscale, **values | {"target_size": st.none()})


REQUEST_CLASSES = [task.request_class for task in TASKS.values()]
REQUESTS = st.one_of(
    [
        denoise_requests(),
        upscale_requests(),
        *(requests(cls) for cls in REQUEST_CLASSES if cls not in (Denoise, Upscale)),
    ]
)


@settings(max_examples=200, deadline=None)
@given(REQUESTS)
def test_a_request_equals_the_request_of_its_record(request: Request) -> None:
    record = json.loads(json.dumps(to_record(request), allow_nan=False))
    restored = from_record(record)
    unrecorded = {
        name: f.default
        for name, f in options_of(type(request)).items()
        if not settings_of(type(request))[name].recorded
    }
    assert restored == dataclasses.replace(request, **unrecorded)
    assert to_record(restored) == record


PROVENANCE_VALUES: dict[type, st.SearchStrategy[Any]] = {
    str: TEXT, int: st.integers(), float: st.floats(allow_nan=False, allow_infinity=False), list: st.lists(TEXT),
}  # fmt: skip


@st.composite
def provenance_values(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from([name for name in PROVENANCE_FIELDS if name != "task"])))
    return {name: draw(st.none() | PROVENANCE_VALUES[PROVENANCE_FIELDS[name].kind]) for name in sorted(names)}


@settings(max_examples=50, deadline=None)
@given(REQUESTS, provenance_values())
def test_provenance_is_recorded_and_ignored_when_a_record_is_read(request: Request, provenance: dict[str, Any]) -> None:
    provenance = {name: value for name, value in provenance.items() if name not in options_of(type(request))}
    if "artgen" in provenance:  # records without these values have other defaults
        provenance["schema"] = provenance.get("schema") or RECORD_SCHEMA
        if isinstance(request, PromptRequest):
            request = request.replace(
                prompt_weights=request.prompt_weights or "a1111", long_prompt=request.long_prompt or "chunk"
            )
    record = to_record(request, provenance)
    assert provenance.items() <= record.items()
    assert from_record(record) == from_record(to_record(request))


def test_a_record_is_flat_and_contains_no_folders() -> None:
    lora = ("/home/ada/x.safetensors:0.5", r"C:\ada\y.safetensors")
    request = Inpaint(image=Path("/home/ada/secret/in.png"), mask=Path("../masks/m.png"), seed=7, lora=lora)
    record = to_record(request)
    assert (record["image"], record["mask"]) == ("in.png", "m.png")
    assert record.pop("lora") == ["x.safetensors:0.5", "y.safetensors:1"]
    assert "ada" not in json.dumps(record)
    assert "steps" not in record, "unset settings are not recorded"
    assert all(isinstance(value, str | int | float | bool) for value in record.values())


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("step", "steps"), ("guidance-scal", "guidance_scale"), ("negative_promt", "negative_prompt")],
)
def test_unknown_keys_raise_usage_errors_with_suggestions(key: str, suggestion: str) -> None:
    with pytest.raises(UsageError, match=f"Unknown setting: '{key}'") as caught:
        from_record({"task": "txt2img", key: 1})
    assert suggestion in caught.value.hint


def test_keys_of_other_tasks_raise_usage_errors() -> None:
    with pytest.raises(UsageError, match="'mask'"):
        from_record({"task": "img2img", "image": "a.png", "mask": "b.png"})
    with pytest.raises(UsageError, match="'strength'"):
        from_record({"task": "txt2img", "strength": 1})


@pytest.mark.parametrize("task", ["enlarge", "", None, 7, ["txt2img"], {"task": "txt2img"}])
def test_unknown_tasks_raise_usage_errors(task: object) -> None:
    with pytest.raises(UsageError, match="Unknown task") as caught:
        from_record({"task": task})
    assert "txt2img, img2img, inpaint, outpaint" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"steps": "20"},
        {"steps": 10**9},
        {"steps": 20.0},
        {"steps": [20]},
        {"steps": True},
        {"prompt": None},
        {"prompt": 7},
        {"prompt": ["a"]},
        {"seed": -1},
        {"seed": 2**64},
        {"guidance_scale": "7"},
        {"guidance_scale": 10**400},
        {"scheduler": "unheard-of"},
        {"scheduler": 7},
        {"sigmas": "karras", "scheduler": "ddim"},
        {"width": 10**6},
        {"vae_tiling": 1},
        {"device": "tpu"},
        {"device": 0},
        {"task": "img2img", "image": 7},
        {"task": "img2img", "image": "a\0.png"},
        {"task": "img2img"},
        {"task": "outpaint", "image": "a.png", "expand": 64},
    ],
)
def test_invalid_values_raise_usage_errors(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        from_record({"task": "txt2img", **values})


def test_integers_are_converted_to_floats() -> None:
    request = from_record({"guidance_scale": 7})
    assert request == Txt2Img(guidance_scale=7.0)
    assert isinstance(request.guidance_scale, float)


def test_a_record_gives_the_request_class_of_its_task() -> None:
    for name, cls in ((task.name, task.request_class) for task in TASKS.values()):
        inputs: dict[str, Any] = {"image": "a.png"} if issubclass(cls, ImageRequest) else {}
        inputs |= {"mask": "m.png"} if issubclass(cls, Inpaint) else {}
        inputs |= {"prompt": "make it winter"} if issubclass(cls, Edit) else {}
        inputs |= {"target_size": "64x64"} if issubclass(cls, Outpaint) else {}
        assert type(from_record({"task": name, **inputs})) is cls


FORMER = Txt2Img(prompt="x", prompt_weights="none", long_prompt="truncate")
"""Request of a record of an image without the fields of the syntax."""

UNKNOWN_VALUES = [
    1, -0.5, True, None, "text", "\x1b[2J\u202e", [], [1, [2, {"a": "b"}]], {}, {"a": {"b": [None]}}, 10**30,
]  # fmt: skip


@pytest.mark.parametrize("values", [{}, {"prompt_weights": "comfy"}, {"long_prompt": "error", "clip_skip": 2}])
def test_records_of_images_without_the_fields_of_the_syntax_have_no_syntax(values: dict[str, Any]) -> None:
    record = {"artgen": "0.2.0", "prompt": "a (b:1.2) __c__ <lora:d:1>", **values}
    request = from_record(record)
    assert isinstance(request, Txt2Img)
    assert request.prompt_weights == values.get("prompt_weights", "none")
    assert request.long_prompt == values.get("long_prompt", "truncate")
    assert request.expansion is not None, "nothing in the prompt is looked up"
    assert from_record(to_record(request, {"artgen": "0.2.0"})) == request
    person = from_record({"prompt": record["prompt"]})
    assert isinstance(person, Txt2Img)
    assert (person.prompt_weights, person.long_prompt, person.expansion) == (None, None, None)


@pytest.mark.parametrize("value", UNKNOWN_VALUES, ids=repr)
@pytest.mark.parametrize("name", ["new_fact", "", "STEPS", "strength", "a\nb\x1b[2J", "unknown_fields", "__class__"])
def test_unknown_fields_of_a_record_are_kept_and_noted(name: str, value: object) -> None:
    record = {"artgen": "0.2.0", "schema": RECORD_SCHEMA, "task": "txt2img", "prompt": "x", name: value}
    request = from_record(record)
    assert request == FORMER
    assert to_record(request.replace(seed=7))[name] == value
    (note,) = record_notes(record)
    assert name in note
    assert to_record(request, {name: "provenance"})[name] == "provenance"


def test_unknown_fields_of_a_person_are_refused() -> None:
    with pytest.raises(UsageError, match="Unknown setting: 'new_fact'"):
        from_record({"task": "txt2img", "prompt": "x", "new_fact": 1})


def test_keys_that_json_output_adds_are_not_unknown_fields() -> None:
    record = {"artgen": "0.2.0", "prompt": "x", **dict.fromkeys(JSON_ONLY_KEYS, "x")}
    assert record_notes(record) == []
    assert "file" not in to_record(from_record(record))


@pytest.mark.parametrize("schema", [None, 0, RECORD_SCHEMA, RECORD_SCHEMA + 1, 10**30])
def test_records_of_every_schema_are_read_and_a_newer_schema_is_noted(schema: int | None) -> None:
    record = {"artgen": "9.0.0", "schema": schema, "prompt": "x", "steps": 3}
    assert from_record(record) == FORMER.replace(steps=3)
    assert len(record_notes(record)) == (schema is not None and schema > RECORD_SCHEMA)


def test_many_and_large_unknown_fields_are_bounded() -> None:
    many = {f"field-{number}": number for number in range(10_000)}
    record = {"artgen": "0.2.0", "prompt": "x", **many}
    assert many.items() <= to_record(from_record(record)).items()
    (note,) = record_notes(record)
    assert "and 9,992 more" in note
    assert len(note) < 500
    record = {"artgen": "0.2.0", "prompt": "x", "large": "x" * MAX_UNKNOWN_BYTES, "small": 1, "n" * 10_000: {1, 2}}
    assert from_record(record).unknown_fields == {"small": 1}
    (note,) = record_notes(record)
    assert "2 fields are not kept" in note
    assert len(note) < 500


@pytest.mark.parametrize("name", [name for name in PROVENANCE_FIELDS if name not in ("task", "width", "height")])
@pytest.mark.parametrize("value", [True, 2.5, {}, [1], {"a": 1}, "text", 7, ["text"]], ids=repr)
def test_provenance_of_a_wrong_type_is_refused_in_one_short_sentence(name: str, value: object) -> None:
    kind = PROVENANCE_FIELDS[name].kind
    record = {"artgen": "0.2.0", "prompt": "x", name: value}
    if (isinstance(value, kind) or (kind is float and value == 7)) and value is not True and value != [1]:
        assert from_record(record) == FORMER
    else:
        with pytest.raises(UsageError, match=f"{name} must be ") as caught:
            from_record(record)
        assert len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["prompt", "device", "steps", "task", "scheduler", "width", "sigmas", "fast", "lora"])
@pytest.mark.parametrize("value", ["x" * 10**6, {"a": "x" * 10**6}], ids=["text", "object"])
def test_messages_about_large_values_are_short(name: str, value: object) -> None:
    if (name, type(value)) in (("prompt", str), ("lora", str)):
        return
    with pytest.raises(UsageError) as caught:
        from_record({"task": "txt2img", name: value})
    assert len(caught.value.message) + len(caught.value.hint) < 3000
