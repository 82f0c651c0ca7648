"""Test the encoding of prompts with CLIP: weights, chunks and clip skip against references and plain diffusers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artgen import Txt2Img, generate, replay
from artgen.engine.sampling.clip_encoding import TextOptions, encode_text
from artgen.engine.sampling.prompt_embeddings import encode_prompt
from artgen.jobs.prompt_chunks import Chunk, tokenize

SETTINGS: dict[str, Any] = {"seed": 7, "steps": 2, "guidance_scale": 5.0}
CLASSES = {
    "sd1": "StableDiffusionPipeline",
    "sd2": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd3-t5": "StableDiffusion3Pipeline",
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of tiny models, with the padding token of Stable Diffusion 2 and with T5."""
    root = tmp_path_factory.mktemp("more")
    sd2 = tiny_models.sd1(root / "sd2", seed=5)
    for file in (sd2 / "tokenizer").iterdir():
        file.write_text(file.read_text().replace('"pad_token": "<|endoftext|>"', '"pad_token": "!"'))
    return {**models, "sd2": sd2, "sd3-t5": tiny_models.sd3(root / "sd3-t5", t5=True)}


@pytest.fixture(scope="module")
def pipes(folders: dict[str, Path]) -> Callable[[str], Any]:
    """Return a function that loads the plain pipeline of a model once."""
    loaded: dict[str, Any] = {}

    def load(kind: str) -> Any:
        if kind not in loaded:
            if kind == "sd3-t5":
                import diffusers

                with plain.quiet():
                    absent = {"image_encoder": None, "feature_extractor": None}
                    loaded[kind] = diffusers.StableDiffusion3Pipeline.from_pretrained(folders[kind], **absent)
            else:
                loaded[kind] = plain.load(CLASSES[kind], folders[kind])
        return loaded[kind]

    return load


def hidden_states(pipe: Any, text: str, number: str = "", *, penultimate: bool = False) -> torch.Tensor:
    """Return what a text encoder gives for a text of one chunk."""
    tokens = getattr(pipe, f"tokenizer{number}")(text, padding="max_length", return_tensors="pt", truncation=True)
    with torch.no_grad():
        output = getattr(pipe, f"text_encoder{number}")(tokens.input_ids, output_hidden_states=True)
    return output.hidden_states[-2] if penultimate else output[0]


def weights_of(*weights: float) -> torch.Tensor:
    """Return the weights of the first tokens, shape (1, 77, 1); the start token and all others have the weight 1."""
    return torch.tensor([1.0, *weights, *[1.0] * (76 - len(weights))])[None, :, None]


TEXT = "a (red:1.3) fox"
WEIGHTS = weights_of(1.0, 1.3, 1.0)


def test_weights_of_a1111_keep_the_mean(pipes: Callable[[str], Any]) -> None:
    pipe = pipes("sd1")
    z = hidden_states(pipe, "a red fox")
    expected = z * WEIGHTS * (z.mean() / (z * WEIGHTS).mean())
    assert torch.equal(encode_text(pipe, TEXT, TextOptions("a1111"), 1)[0], expected)


@pytest.mark.parametrize("weight", [0.4, 1.3])
def test_weights_of_comfy_scale_the_difference_to_an_empty_prompt(pipes: Callable[[str], Any], weight: float) -> None:
    pipe = pipes("sd1")
    z, empty = hidden_states(pipe, "a red fox"), hidden_states(pipe, "")
    expected = (z - empty) * weights_of(1.0, weight, 1.0) + empty
    assert torch.equal(encode_text(pipe, f"a (red:{weight}) fox", TextOptions("comfy"), 1)[0], expected)


def test_comfy_equals_compel_for_weights_above_1(pipes: Callable[[str], Any]) -> None:
    compel = pytest.importorskip("compel")
    pipe = pipes("sd1")
    theirs = compel.Compel(tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder)("a (red)1.5 fox in (the snow)1.2")
    ours = encode_text(pipe, "a (red:1.5) fox in (the snow:1.2)", TextOptions("comfy"), 1)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_weights_of_sdxl_have_no_normalization_and_keep_the_pooled_embeddings(
    pipes: Callable[[str], Any],
) -> None:
    pipe = pipes("sdxl")
    z = torch.cat([hidden_states(pipe, "a red fox", number, penultimate=True) for number in ("", "_2")], dim=-1)
    embeds, pooled = encode_text(pipe, TEXT, TextOptions("a1111"), 1)
    assert torch.equal(embeds, z * WEIGHTS)
    assert pooled is not None
    assert torch.equal(pooled, hidden_states(pipe, "a red fox", "_2"))


@pytest.mark.parametrize("kind", ["sd3", "sd3-t5"])
def test_weights_of_sd3_change_the_embeddings_of_clip(pipes: Callable[[str], Any], kind: str) -> None:
    pipe = pipes(kind)
    z = torch.cat([hidden_states(pipe, "a red fox", number, penultimate=True) for number in ("", "_2")], dim=-1)
    plain_embeds, _, plain_pooled, _ = encode_prompt(pipe, "a red fox", "", False, CPU)
    embeds, pooled = encode_text(pipe, TEXT, TextOptions("a1111"), 1)
    assert plain_embeds is not None
    assert plain_pooled is not None
    assert pooled is not None
    expected = z * WEIGHTS * (z.mean() / (z * WEIGHTS).mean())
    assert torch.equal(embeds[:, :77, : z.shape[-1]], expected)
    assert torch.equal(embeds[:, 77:], plain_embeds[:, 77:])
    assert torch.equal(pooled, plain_pooled)


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl", "sd3", "sd3-t5"])
@pytest.mark.parametrize("rule", ["a1111", "comfy", "none"])
def test_prompts_with_weights_of_1_give_the_bytes_of_diffusers(
    folders: dict[str, Path], pipes: Callable[[str], Any], kind: str, rule: str
) -> None:
    prompt, plain_prompt = {
        "a1111": (r"a (red:1.0) \(fox\), [the (snow:1.1)] \\ house", "a red (fox), the snow \\ house"),
        "comfy": (r"a (red:1.0) \(fox\), [cat] house", "a red (fox), [cat] house"),
        "none": (r"a (red:1.3) \(fox\), [the] BREAK AND house", r"a (red:1.3) \(fox\), [the] BREAK AND house"),
    }[rule]
    if rule == "a1111":
        prompt = prompt.replace("[the (snow:1.1)]", "the snow")
    ours = generate(
        Txt2Img(model=str(folders[kind]), prompt=prompt, negative_prompt="a (cat:1)", prompt_weights=rule, **SETTINGS)
    )
    theirs = plain.run(
        pipes(kind), seed=7, prompt=plain_prompt, negative_prompt="a cat" if rule != "none" else "a (cat:1)",
        num_inference_steps=2, guidance_scale=5.0,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("negative", ["", "a (cat:1.4)"])
def test_weights_change_the_image(folders: dict[str, Path], kind: str, negative: str) -> None:
    request = Txt2Img(model=str(folders[kind]), prompt="a (red:1.6) fox", negative_prompt=negative, **SETTINGS)
    images = [generate(request.replace(prompt_weights=rule)).image for rule in ("a1111", "comfy", "none")]
    images.append(generate(request.replace(prompt="a red fox", negative_prompt=negative and "a cat")).image)
    assert not any(sample_images.same(a, b) for i, a in enumerate(images) for b in images[:i])


@pytest.mark.parametrize(("num_tokens", "num_chunks"), [(75, 1), (76, 2), (150, 2), (151, 3)])
@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl", "sd3-t5"])
def test_each_chunk_is_encoded_alone(pipes: Callable[[str], Any], kind: str, num_tokens: int, num_chunks: int) -> None:
    pipe = pipes(kind)
    words = (["a", "red", "fox", "in", "the", "snow"] * 26)[:num_tokens]
    options = TextOptions("a1111", chunked=True)
    embeds, negative, *pooled = encode_prompt(pipe, " ".join(words), "a cat", True, CPU, options, num_chunks)
    chunks = [" ".join(words[i : i + 75]) for i in range(0, num_tokens, 75)]
    parts = [encode_prompt(pipe, chunk, "", False, CPU) for chunk in chunks]
    assert embeds is not None
    assert negative is not None
    assert embeds.shape == negative.shape
    empty = encode_prompt(pipe, "", "", False, CPU)[0]
    cat = encode_prompt(pipe, "a cat", "", False, CPU)
    for i, part in enumerate(parts):
        assert torch.equal(embeds[:, 77 * i : 77 * (i + 1)], part[0][:, :77])  # type: ignore[index]
        expected = cat[0] if i == 0 else empty
        assert torch.equal(negative[:, 77 * i : 77 * (i + 1)], expected[:, :77])  # type: ignore[index]
    assert embeds.shape[1] == 77 * num_chunks + (256 if kind == "sd3-t5" else 0)
    if kind not in ("sd1", "sd2"):
        assert torch.equal(pooled[0], parts[0][2])  # type: ignore[arg-type]
        assert torch.equal(pooled[1], cat[2])  # type: ignore[arg-type]


def ids_of(text: str) -> list[list[int]]:
    """Tokenize a text into the numbers of its words; a comma is 0."""
    return [[0 if word == "," else int(word) for word in part.split()] for part in text]


def chunk_lengths(text: str, rule: str = "a1111") -> list[int]:
    """Return the numbers of tokens of the chunks of a text."""
    return [len(chunk.token_ids) for chunk in tokenize(text, rule, ids_of, 75, 0)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("", [0]),
        ("1 " * 75, [75]),
        ("1 " * 76, [75, 1]),
        ("1 " * 150, [75, 75]),
        ("1 " * 151, [75, 75, 1]),
        ("1 " * 54 + ", " + "2 " * 30, [75, 10]),  # 20 tokens after the comma, which counts as one
        ("1 " * 55 + ", " + "2 " * 30, [56, 30]),
        ("1 " * 70 + ", " + "2 " * 4, [75]),
        ("1 " * 74 + ", " + "2 " * 4, [75, 4]),
        ("1 " * 75 + ", " + "2 " * 4, [75, 5]),
        ("1 " * 60 + ", " + "2 " * 5 + ", " + "3 " * 20, [67, 20]),
        ("1 BREAK 2", [1, 1]),
        ("BREAK 1 2", [0, 2]),
        ("1 2 BREAK", [2]),
        ("1 " * 80 + "BREAK 3", [75, 5, 1]),
        ("1 BREAK BREAK 2", [1, 0, 1]),
    ],
)
def test_chunks_are_those_of_a1111(text: str, lengths: list[int]) -> None:
    assert chunk_lengths(text) == lengths


def test_comfy_does_not_divide_a_short_weighted_text() -> None:
    assert chunk_lengths("1 " * 73 + "(2 2 2 2:1.2) 3", "comfy") == [73, 5]
    assert chunk_lengths("1 " * 73 + "(2 2 2 2 2 2 2 2 2:1.2) 3", "comfy") == [75, 8]
    assert chunk_lengths("1 " * 60 + ", " + "2 " * 20, "comfy") == [75, 6]


def test_plain_text_has_no_syntax_and_no_rule_for_commas() -> None:
    assert chunk_lengths("1 " * 60 + ", " + "2 " * 20, "none") == [75, 6]


def test_without_chunks_a_text_is_truncated() -> None:
    truncated = tokenize("1 " * 60 + ", (2:1.5) BREAK" + " 3" * 20, "a1111", ids_of, 75, 0, chunked=False)  # type: ignore[arg-type]
    assert truncated == (Chunk((1,) * 60 + (0, 2) + (3,) * 13, (1.0,) * 61 + (1.5,) + (1.0,) * 13),)


@given(st.lists(st.sampled_from(["1", "2", ",", "(3:1.2)", "BREAK"]), max_size=300))
@settings(max_examples=50)
def test_chunks_contain_all_tokens_in_order(words: list[str]) -> None:
    chunks = tokenize(" ".join(words), "a1111", ids_of, 75, 0)  # type: ignore[arg-type]
    tokens = [token for chunk in chunks for token in chunk.token_ids]
    expected = [0 if word == "," else 3 if "3" in word else int(word) for word in words if word != "BREAK"]
    assert tokens == expected
    assert all(len(chunk.token_ids) == len(chunk.weights) <= 75 for chunk in chunks)


@pytest.mark.parametrize("long_prompt", ["truncate", "chunk"])
def test_a_record_without_prompt_weights_replays_as_plain_text(
    folders: dict[str, Path], pipes: Callable[[str], Any], long_prompt: str
) -> None:
    """Records of earlier versions have no `prompt_weights`, and `long_prompt` only if chunks were requested."""
    pipe = pipes("sd1")
    words = ["a", "(red:1.3)", "fox", "AND", "[cat|tree],", r"\(snow\)"]
    prompt = " ".join(words * 4)
    ids = pipe.tokenizer(prompt, add_special_tokens=False).input_ids
    assert len(ids) > 75
    start, end = pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id
    parts = [ids[i : i + 75] for i in range(0, len(ids) if long_prompt == "chunk" else 75, 75)]
    padded = [[start, *part, *[end] * (76 - len(part))] for part in parts]
    empty = [start, *[end] * 76]
    with torch.no_grad():
        embeds = torch.cat([pipe.text_encoder(torch.tensor([each]))[0] for each in padded], dim=1)
        negative = torch.cat([pipe.text_encoder(torch.tensor([empty]))[0]] * len(parts), dim=1)
    expected = plain.run(
        pipe, seed=7, prompt_embeds=embeds, negative_prompt_embeds=negative, num_inference_steps=2, guidance_scale=5.0
    )
    request = Txt2Img(
        model=str(folders["sd1"]), prompt=prompt, prompt_weights="none", long_prompt=long_prompt, **SETTINGS
    )
    generated = generate(request)
    assert sample_images.same(generated.image, expected)
    removed = {"prompt_weights", *(["long_prompt"] if long_prompt == "truncate" else [])}
    record = {name: value for name, value in generated.record.items() if name not in removed}
    Path("old.json").write_text(json.dumps(record))
    replayed = replay(Path("old.json"))
    assert sample_images.same(replayed.image, expected)
    assert replayed.record["prompt_weights"] == "none"
    assert replayed.record["long_prompt"] == long_prompt


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_clip_skip_1_gives_the_bytes_of_diffusers(
    folders: dict[str, Path], pipes: Callable[[str], Any], kind: str
) -> None:
    ours = generate(Txt2Img(model=str(folders[kind]), prompt="a red fox", clip_skip=1, **SETTINGS))
    theirs = plain.run(pipes(kind), seed=7, prompt="a red fox", num_inference_steps=2, guidance_scale=5.0)
    assert sample_images.same(ours.image, theirs)


def test_clip_skip_of_sd1_uses_an_earlier_layer_and_the_final_norm(
    folders: dict[str, Path], pipes: Callable[[str], Any]
) -> None:
    pipe = pipes("sd1")
    expected = []
    for text in ("a red fox", "a cat"):
        tokens = pipe.tokenizer(text, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            states = pipe.text_encoder(tokens.input_ids, output_hidden_states=True).hidden_states
            expected.append(pipe.text_encoder.final_layer_norm(states[-2]))
    embeds, negative, _, _ = encode_prompt(pipe, "a red fox", "a cat", True, CPU, TextOptions(clip_skip=2))
    assert torch.equal(embeds, expected[0])  # type: ignore[arg-type]
    assert torch.equal(negative, expected[1])  # type: ignore[arg-type]
    ours = generate(
        Txt2Img(model=str(folders["sd1"]), prompt="a red fox", negative_prompt="a cat", clip_skip=2, **SETTINGS)
    )
    theirs = plain.run(
        pipe, seed=7, prompt_embeds=expected[0], negative_prompt_embeds=expected[1], num_inference_steps=2,
        guidance_scale=5.0,
    )  # fmt: skip
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_clip_skip_2_of_sdxl_and_sd3_equals_clip_skip_1_of_diffusers(pipes: Callable[[str], Any], kind: str) -> None:
    pipe = pipes(kind)
    for encoder in (pipe.text_encoder, pipe.text_encoder_2):  # the tiny encoders have two layers
        assert encoder.config.num_hidden_layers == 2
    theirs = pipe.encode_prompt(
        prompt="a red fox", prompt_2=None, **({"prompt_3": None} if kind == "sd3" else {}), device=CPU,
        num_images_per_prompt=1, do_classifier_free_guidance=False, clip_skip=1,
    )  # fmt: skip
    ours = encode_prompt(pipe, "a red fox", "", False, CPU, TextOptions(clip_skip=2))
    assert torch.equal(ours[0], theirs[0])  # type: ignore[arg-type]
    assert torch.equal(ours[2], theirs[2])  # type: ignore[arg-type]
