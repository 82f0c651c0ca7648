"""Test the note about words that the bundled model was not trained on, and the next step that it names."""

import json
from pathlib import Path

import pytest
from command_line import run

from artgen import registry
from artgen.jobs.next_step import FIRST_MODELS, next_step
from artgen.jobs.recommend import Machine
from artgen.jobs.trained_words import MAX_PROMPTS, bundled_words, words_note
from artgen.registry.catalog import builtin_models
from artgen.registry.resolved import ResolvedModel
from artgen.spec.requests import Img2Img, Txt2Img

GIB = 2**30
FEW_IMAGES = "has few or no training images of"
NO_SUBJECT = "names no subject of"


def tiny() -> ResolvedModel:
    model = registry.find_local_model("tiny")
    assert model is not None
    return model


def note(*prompts: str, rule: str = "a1111", **settings: object) -> str:
    requests = [Txt2Img(prompt=prompt, prompt_weights=rule, steps=4, **settings) for prompt in prompts]
    return words_note([(request, tiny()) for request in requests])


@pytest.mark.parametrize(
    "prompt",
    [
        "a red fox in the snow",
        "A RED FOX IN THE SNOW!",
        "(a red:1.3) ((fox)) [in the snow]",
        "red_fox, snow",
        "the fox's, on a light blue background",
        "three geese",
        "two wolves at the top left",
        "cherries",
        "a t-shirt",
        "a 3d crown, glossy style",
        "a purple apple, vector art",
        "[fox:cat:0.5]",
        "a small ice cream cone in front of a green background",
        "",
        "   ",
    ],
)
def test_prompts_of_trained_words_have_no_note(prompt: str) -> None:
    text = note(prompt)
    assert "several subjects" in text if prompt.startswith("[") else not text


@pytest.mark.parametrize(
    ("prompt", "words", "other"),
    [
        ("a misty forest", "'misty' and 'forest'", "'tree' for 'forest'"),
        ("(misty:1.4) (forest)", "'misty' and 'forest'", NO_SUBJECT),
        ("misty_forest", "'misty' and 'forest'", NO_SUBJECT),
        ("a forest AND a fox", "'forest'", "Similar"),
        ("a [lynx:ibex:2]", "'lynx' and 'ibex'", NO_SUBJECT),
        ("a fox in the forests", "'forests'", "'tree' for 'forests'"),
        ("a cat wearing a hat", "'wearing' and 'hat'", "'top hat' for 'hat'"),
        ("一只狐狸", "'一只狐狸'", NO_SUBJECT),
        ("ein roter Fuchs", "'ein', 'roter' and 'Fuchs'", NO_SUBJECT),
        ("a fox \x1b[31m lynx", "'lynx'", ""),
        ("fox " + " ".join(f"qw{letter}" for letter in "abcdefghij"), "'qwf' and 4 more", ""),
        ("fox " + "q" * 500, f"'{'q' * 40}...'", ""),
        ("don't show a lynx", "'don't' and 'lynx'", NO_SUBJECT),
        ("l’arbre", "'l’arbre'", NO_SUBJECT),
        ("लाल लोमड़ी", "'लाल' and 'लोमड़ी'", NO_SUBJECT),
        ("cafe\u0301", "'café'", NO_SUBJECT),
        ("two cans, on toes", "'cans' and 'toes'", NO_SUBJECT),
        ("some mice", "'mice'", "'mouse face' for 'mice'"),
        (r"a lynx \(cartoon\)", "'lynx'", NO_SUBJECT),
    ],
)
def test_untrained_words_are_noted(prompt: str, words: str, other: str) -> None:
    text = note(prompt)
    assert f"{FEW_IMAGES} " in text
    assert words in text.partition(FEW_IMAGES)[2].partition(". ")[0]
    assert other in text
    assert text.count("models pull") == 1 or "models recommend" in text
    assert "artgen models words tiny" in text


def test_ignored_words_and_several_subjects_are_noted() -> None:
    assert note("a fox, masterpiece").startswith("'masterpiece' has no effect with the demonstration model 'tiny'.")
    assert "'masterpiece' and '8k' have no effect." in note("a lynx, masterpiece, 8k")
    assert "several subjects ('dog' and 'cat')" in note("two dogs and a cat")
    assert NO_SUBJECT in note("a beautiful sunset")
    assert "'boy' or 'girl' for 'children'" in note("happy children")
    assert "for 'happy'" not in note("a happy fox")


@pytest.mark.parametrize(
    ("prompt", "subjects"),
    [
        ("a dog, a cat and a fox", "'dog', 'cat' and 'fox'"),
        ("a dog, a cat, a fox, a cow and a pig", "'dog', 'cat', 'fox' and 2 more"),
        ("foxes on steps", "'fox' and 'ladder' for 'steps'"),
        ("a well-lit cat", "'fire' for 'lit' and 'cat'"),
        ("wolves and geese", "'wolf' and 'goose'"),
    ],
)
def test_subjects_are_named_with_words_of_the_prompt(prompt: str, subjects: str) -> None:
    assert f"several subjects ({subjects}) often" in note(prompt)


def test_syntax_is_text_with_the_rule_none() -> None:
    assert "'lynx'" in note("[fox:lynx:2]", rule="none")
    assert not note("(fox:1)", rule="none")


def test_prompts_of_one_command_share_one_note() -> None:
    text = note("a lynx", "a forest", "a lynx", "a red fox")
    assert text.count("demonstration model") == 1
    assert "'lynx' and 'forest'" in text
    assert "2 of 3 prompts name no subject of 'tiny'" in text


def test_number_of_examined_prompts_is_limited() -> None:
    assert f"of {MAX_PROMPTS:,} prompts" in note(*(f"a lynx number {number}" for number in range(MAX_PROMPTS + 10)))


def test_tokens_of_embeddings_and_unchanged_images_have_no_note(tmp_path: Path) -> None:
    assert "mystyle" not in note("a lynx, mystyle", embedding=(f"{tmp_path}/file.safetensors:mystyle",))
    request = Img2Img(image="in.png", prompt="a lynx", strength=0.0, prompt_weights="a1111", steps=4)
    assert not words_note([(request, tiny())])


def test_other_models_have_no_note(tmp_path: Path) -> None:
    model = tiny()
    copy = type(model)(**{**vars(model), "path": tmp_path})
    assert not words_note([(Txt2Img(prompt="a misty forest", prompt_weights="a1111"), copy)])
    assert not words_note([(Txt2Img(prompt="a misty forest", prompt_weights="a1111"), None)])


def test_list_of_words_is_consistent() -> None:
    words = bundled_words()
    assert not words.phrases.keys() & words.ignored
    for word, similar in words.related.items():
        assert word not in words.phrases
        assert all(noun.replace("-", " ") in words.phrases for noun in similar), word
    assert sum(len(subjects) for subjects in words.subjects.values()) > 250
    assert (builtin_models()["tiny"].bundled_folder or Path()).joinpath("words.json").stat().st_size < 50_000


def test_command_lists_the_words() -> None:
    lines = run("models", "words", "tiny").stdout.splitlines()
    assert lines[0].startswith("animals: ")
    assert any(line.startswith("colors: ") and "turquoise" in line for line in lines)
    found = json.loads(run("models", "words", "--json").stdout)
    assert "fox" in found["subjects"]["animals"]
    assert {"model", "colors", "places", "styles", "numbers"} <= found.keys()


@pytest.mark.parametrize(("name", "code"), [("sdxl", 2), ("denoiser", 2), ("owner/name", 2), ("unknown", 4)])
def test_command_refuses_other_models(name: str, code: int) -> None:
    result = run("models", "words", name, code=code)
    assert "Traceback" not in result.output
    assert name in result.stderr


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (Machine("cpu", 8 * GIB, 8 * GIB, None, 2), "artgen models pull sd-turbo` downloads a larger model (2.6 GB,"),
        (Machine("cpu", 32 * GIB, 32 * GIB, None, 32), "artgen models pull sdxl"),
        (Machine("cuda", 12 * GIB, 32 * GIB, None, 8), "pull sdxl-lightning` downloads a larger model (6.9 GB)."),
        (Machine("cpu", 8 * GIB, 8 * GIB, 1, 2), "artgen models recommend"),
        (Machine("cpu", GIB // 2, GIB // 2, None, 1), "artgen models recommend"),
    ],
)
def test_next_step_fits_the_machine(machine: Machine, expected: str) -> None:
    text = next_step(machine=machine)
    assert text.startswith("Next step: ")
    assert expected in text


def test_first_models_need_no_account() -> None:
    for name in FIRST_MODELS:
        info = builtin_models()[name]
        assert not info.gated
        assert "non-commercial" not in info.license.lower()
        assert (info.download_size or 0) < 7.1e9
