"""Test embeddings (textual inversions): names, headers, compatibility with models, and lookups of records."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors_files import Shapes, zero_file

from artgen import Txt2Img, metadata
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import note_listener
from artgen.jobs.job import GenerationJob
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.prompt_chunks import num_chunks
from artgen.jobs.prompt_expansion import expand_prompts
from artgen.jobs.prompt_plan import prompts_of
from artgen.jobs.replay import read_replay_spec
from artgen.registry.embeddings import describe_embedding, read_embedding
from artgen.spec.embedding import EmbeddingSpec, parse_embedding, replace_tokens

WIDTH = 32
"""Width of the text encoders of the tiny models."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a folder of embeddings, and use it as embedding_folder and as the state folder's neighbor."""
    folder = tmp_path / "embeddings"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("one", "Easy-Negative_v1.2", "sub/deep", "a(1)"), start=1):
        zero_file(folder / f"{name}.safetensors", {"emb_params": (number, WIDTH)})
    zero_file(folder / "sd1.safetensors", {"emb_params": (2, 768)})
    zero_file(folder / "sdxl.safetensors", {"clip_l": (2, 768), "clip_g": (2, 1280)})
    (folder / "old.pt").write_bytes(b"PK\3\4 a pickle")
    monkeypatch.setenv("ARTGEN_EMBEDDING_FOLDER", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def expand(prompt: str, **settings: Any) -> tuple[Txt2Img, list[str]]:
    """Return the expanded request, and the notes."""
    notes: list[str] = []
    request = expand_prompts(Txt2Img(prompt=prompt, seed=1, **settings), note_listener(notes.append))
    assert isinstance(request, Txt2Img)
    return request, notes


def prepare(model: Path, **settings: Any) -> GenerationJob:
    job = prepare_jobs([Txt2Img(model=str(model), seed=1, steps=2, **settings)])[0]
    assert isinstance(job, GenerationJob)
    return job


def named(request: Txt2Img) -> list[tuple[str, str]]:
    return [(Path(each.name).stem, each.token) for each in request.embeddings]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("style.safetensors", ("style.safetensors", "")),
        ("style.safetensors:<my>", ("style.safetensors", "<my>")),
        ("style.safetensors:two words", ("style.safetensors", "two words")),
        ("style.SAFETENSORS:a:b", ("style.SAFETENSORS", "a:b")),
        ("style:my", ("style", "my")),
        ("C:\\x\\style.safetensors:my", ("C:\\x\\style.safetensors", "my")),
        ("C:\\x\\style", ("C:\\x\\style", "")),
        ("civitai:123", ("civitai:123", "")),
        ("folder/style", ("folder/style", "")),
    ],
)
def test_values_of_embedding_are_parsed(text: str, spec: tuple[str, str]) -> None:
    assert parse_embedding(text) == EmbeddingSpec(*spec)
    assert parse_embedding(str(EmbeddingSpec(*spec))) == EmbeddingSpec(*spec)


@pytest.mark.parametrize("text", [":x", "a.safetensors:", "a.safetensors: ", "a.safetensors:a\nb", f"a:{'x' * 300}"])
def test_wrong_values_of_embedding_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="embedding"):
        Txt2Img(prompt="a", embedding=(text,))


@pytest.mark.parametrize(
    ("prompt", "expanded", "embeddings"),
    [
        ("a embedding:one fox", "a one fox", [("one", "one")]),
        ("a (embedding:one:1.2) fox", "a (one:1.2) fox", [("one", "one")]),
        ("embedding:one.safetensors, embedding:one", "one, one", [("one", "one")]),
        ("[embedding:one:embedding:deep:0.5]", "[one:deep:0.5]", [("one", "one"), ("deep", "deep")]),
        ("a fox. embedding:sub/deep.", "a fox. deep.", [("deep", "deep")]),
        ("Embedding:ONE", "one", [("one", "one")]),
        ("a easy-negative_V1.2, fox", "a easy-negative_V1.2, fox", [("Easy-Negative_v1.2", "easy-negative_V1.2")]),
        (r"a \(a\(1\)\)", r"a \(a\(1\)\)", [("a(1)", "a(1)")]),
        ("a ones one2 one_x fox", "a ones one2 one_x fox", []),
        ("embedding: fox", "embedding: fox", []),
        ("myembedding:one", "myembedding:one", [("one", "one")]),
    ],
)
def test_prompts_name_embeddings(prompt: str, expanded: str, embeddings: list[tuple[str, str]]) -> None:
    request, _ = expand(prompt)
    assert (request.prompt, named(request)) == (expanded, embeddings)
    assert request.expansion is not None
    assert request.expansion.template == ("" if prompt == expanded else prompt)


def test_a_bare_name_gets_a_note_and_a_negative_prompt_names_embeddings() -> None:
    request, notes = expand("a fox", negative_prompt="one, embedding:deep")
    assert (request.negative_prompt, named(request)) == ("one, deep", [("deep", "deep"), ("one", "one")])
    assert notes == [
        "The word 'one' of the prompts selects the embedding 'one.safetensors' of embedding_folder, as in "
        "AUTOMATIC1111."
    ]


def test_the_same_word_elsewhere_is_text_without_embedding_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARTGEN_EMBEDDING_FOLDER")
    monkeypatch.setenv("ARTGEN_MODEL_FOLDERS", str(folder))
    request, _ = expand("embedding:one and one fox")
    assert (request.prompt, named(request)) == ("one-2 and one fox", [("one", "one-2")])


def test_an_embedding_without_its_token_in_the_prompts_gets_a_note(folder: Path) -> None:
    path = folder / "one.safetensors"
    assert expand("a fox", embedding=(f"{path}:<my>",))[1] == [
        "The embedding 'one.safetensors' has no effect: the prompts do not contain its token '<my>'."
    ]
    assert expand("a <my> fox", embedding=(f"{path}:<my>",))[1] == []
    with pytest.raises(UsageError, match="have the same token 'X'"):
        expand("x", embedding=(f"{path}:x", f"{folder / 'sub/deep.safetensors'}:X"))


def test_prompt_weights_none_looks_up_no_name() -> None:
    request, notes = expand("embedding:one one", prompt_weights="none")
    assert (request.prompt, request.embedding) == ("embedding:one one", ())
    assert notes == ["'embedding:one' is text, because prompt_weights is none."]


@pytest.mark.parametrize(
    ("prompt", "error", "message", "hint"),
    [
        ("embedding:on", InputFileError, "Cannot find the embedding 'on'.", "Did you mean one?"),
        ("embedding:zzzzz", InputFileError, "Cannot find the embedding 'zzzzz'.", "Give a path"),
        ("embedding:../embeddings/one", InputFileError, "Cannot find the embedding", "--embedding PATH:TOKEN"),
        ("embedding:old", RefusedError, "a .pt file is a Python pickle", "artgen models convert"),
        ("a old fox", RefusedError, "The word 'old' of the prompts is the name of an embedding", "models convert"),
    ],
)
def test_unknown_names_and_pickles_are_refused(prompt: str, error: type[ArtgenError], message: str, hint: str) -> None:
    with pytest.raises(error) as caught:
        expand(prompt)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("start", [b"PK\3\4", b"\x80\2}q\0.", b"\x80\4\x95\3"])
def test_a_pickle_with_another_suffix_is_refused_by_its_content(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "my.safetensors"
    path.write_bytes(start + b"data" * 10)
    with pytest.raises(RefusedError, match="its content is a Python pickle") as caught:
        expand("my", embedding=(str(path),))
    assert "artgen models convert" in caught.value.hint


@pytest.mark.parametrize(
    ("shapes", "vectors", "widths", "family"),
    [
        ({"emb_params": (3, 768)}, 3, (768,), "Stable Diffusion 1"),
        ({"emb_params": (1024,)}, 1, (1024,), "Stable Diffusion 2"),
        ({"<my-style>": (768,)}, 1, (768,), "Stable Diffusion 1"),
        ({"string_to_param.*": (2, 768)}, 2, (768,), "Stable Diffusion 1"),
        ({"clip_g": (2, 1280), "clip_l": (2, 768)}, 2, (768, 1280), "Stable Diffusion XL"),
        ({"text_encoders_0": (2, 768), "text_encoders_1": (2, 1280)}, 2, (768, 1280), "Stable Diffusion XL"),
        ({"clip_l": (1, 768), "clip_g": (1, 1280), "t5xxl": (1, 4096)}, 1, (768, 1280), "Stable Diffusion XL"),
    ],
)
def test_headers_of_all_layouts_are_read(
    tmp_path: Path, shapes: Shapes, vectors: int, widths: tuple[int, ...], family: str
) -> None:
    file = read_embedding(zero_file(tmp_path / "x.safetensors", shapes))
    assert (file.vectors, file.widths, file.family) == (vectors, widths, family)
    assert describe_embedding(file.path)["family"] == family


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"emb_params": (80, 768)}, "it has 80 vectors"),
        ({"clip_l": (1, 768), "clip_g": (2, 1280)}, "different numbers of vectors"),
        ({"emb_params": (2, 3, 768)}, "is not an embedding"),
        ({"emb_params": (0, 768)}, "is not an embedding"),
        ({"emb_params": (1, 100_000)}, "is not an embedding"),
        ({"<a>": (768,), "<b>": (768,)}, "is not an embedding"),
        ({"lora_unet_x.lora_down.weight": (2, 4), "lora_unet_x.lora_up.weight": (4, 2)}, "is not an embedding"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, shapes: Shapes, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_embedding(zero_file(tmp_path / "x.safetensors", shapes))


@pytest.mark.parametrize(("dtype", "value"), [("F32", b"\0\0\xc0\x7f"), ("F16", b"\0\x7c"), ("BF16", b"\x80\x7f")])
def test_values_that_are_not_finite_are_refused_before_a_model_loads(tmp_path: Path, dtype: str, value: bytes) -> None:
    header = json.dumps({"x": {"dtype": dtype, "shape": [1, 2], "data_offsets": [0, 2 * len(value)]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(len(value)) + value)
    with pytest.raises(InputFileError, match="values that are not finite"):
        read_embedding(path)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("sd1", "sd1", "its vectors have the width 768, as in Stable Diffusion 1, and the text encoders of the model"),
        ("sd1", "sdxl", "its vectors have the width 768 [+] 1280, as in Stable Diffusion XL"),
        ("sdxl", "one", "its vectors have the width 32, and the text encoders of the model have 32 [+] 32"),
        ("sd3", "sdxl", "artgen supports embeddings with Stable Diffusion 1, 2 and XL"),
    ],
)
def test_embeddings_of_another_family_are_refused(models: dict[str, Path], kind: str, name: str, message: str) -> None:
    with pytest.raises(ModelUnavailableError, match=message):
        prepare(models[kind], prompt=f"embedding:{name}")


@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_a_bare_name_is_text_if_the_model_does_not_support_the_embedding(models: dict[str, Path], kind: str) -> None:
    job = prepare(models[kind], prompt="a one fox")
    assert (job.embeddings, job.request.embedding) == ((), ())
    assert any(note.startswith("The word 'one' is text: 'one.safetensors' is not used") for note in job.notes)
    assert "embedding_sha256" not in job.provenance


@pytest.mark.parametrize(
    ("prompt", "chunks"),
    [("embedding:long, a fox", 1), ("embedding:long, a fox in the snow", 2), ("a a a a a a embedding:long", 2)],
)
def test_vectors_count_as_tokens_and_stay_in_one_chunk(folder: Path, prompt: str, chunks: int) -> None:
    zero_file(folder / "long.safetensors", {"emb_params": (26, 256)})  # the bundled model has chunks of 30 tokens
    job = prepare(Path("tiny"), prompt=prompt)
    assert prompts_of(job.request)[0].count("<artgen-") == 1
    assert num_chunks(job.request, job.model) == chunks


def test_tokens_are_replaced_once_and_the_longest_first() -> None:
    names = {"fox": "F", "red fox": "RF", "F": "X"}
    assert replace_tokens("a red fox, Fox f (fox:1.2)", names, names.__getitem__) == "a RF, F X (F:1.2)"


def test_replay_finds_an_embedding_by_its_hash_only(models: dict[str, Path], folder: Path, tmp_path: Path) -> None:
    job = prepare(models["sd1"], prompt="a embedding:one fox")
    record = {**metadata_record(job), "model": str(models["sd1"])}
    path = tmp_path / "record.json"
    path.write_text(json.dumps({key: value for key, value in record.items() if not key.startswith("model")}))
    request = read_replay_spec(path, {}).request
    assert (request.prompt, named(request)) == ("a one fox", [("one", "one")])  # type: ignore[attr-defined,arg-type]
    zero_file(folder / "one.safetensors", {"emb_params": (2, WIDTH)})
    with pytest.raises(InputFileError, match=r"its embedding 'one.safetensors' \(SHA-256"):
        read_replay_spec(path, {})
    assert read_replay_spec(path, {"embedding": ""}).request.embeddings == ()


def test_recorded_prompts_trigger_no_lookup(tmp_path: Path) -> None:
    path = tmp_path / "image.txt"
    path.write_text("a one embedding:deep __x__ {a|b}\nSteps: 2, Sampler: Euler, Seed: 1, Size: 32x32")
    spec = read_replay_spec(path, {})
    assert expand_prompts(spec.request) is spec.request
    assert spec.request.embeddings == ()
    assert any("'embedding:deep' in the recorded prompt is text" in note for note in spec.notes)


def test_a1111_text_has_the_names_and_hashes_of_embeddings(models: dict[str, Path], tmp_path: Path) -> None:
    job = prepare(models["sd1"], prompt="a <x> fox", embedding=("one:<x>",), negative_prompt="embedding:deep")
    text = metadata.format_a1111(metadata_record(job))
    digests = [each.file.sha256[:12] for each in job.embeddings]
    assert text.startswith("a one fox\nNegative prompt: deep\n")
    assert f'TI hashes: "one: {digests[0]}, deep: {digests[1]}"' in text
    (tmp_path / "image.txt").write_text(text)
    request = read_replay_spec(tmp_path / "image.txt", {}).request
    assert named(request) == [("one", "one"), ("deep", "deep")]  # type: ignore[arg-type]


def metadata_record(job: GenerationJob) -> dict[str, Any]:
    """Return the record of the image of a job."""
    from artgen.spec.records import WRITER_FIELDS, to_record

    return to_record(job.request, {**job.provenance, **WRITER_FIELDS})


def test_an_embedding_given_as_a_lora_names_the_right_option(folder: Path) -> None:
    from artgen.registry.lora import read_lora

    with pytest.raises(InputFileError, match="it is a textual-inversion embedding") as caught:
        read_lora(folder / "sd1.safetensors")
    assert caught.value.hint == "Pass it with --embedding."
