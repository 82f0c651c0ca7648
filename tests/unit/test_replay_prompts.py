"""Test what `replay --set prompt=...` keeps of a record, and its notes."""

from pathlib import Path

import pytest
from safetensors_files import zero_file

from artgen.jobs.replay_prompts import expand_typed
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.requests import Txt2Img

RECORDED = PromptExpansion(
    "a {big|__size__} {x=y|z} fox", "{ugly|bad}",
    ("{big|__size__}=huge", "__size__=huge", "{x=y|z}=x=y", "{ugly|bad}=ugly"), ("film",),
)  # fmt: skip
REQUEST = Txt2Img(prompt="a huge x=y fox", negative_prompt="ugly", seed=1, prompt_weights="a1111", expansion=RECORDED)


@pytest.mark.parametrize(
    ("name", "kept"), [("negative_prompt", RECORDED.choices[:3]), ("prompt", RECORDED.choices[3:])]
)
def test_a_changed_prompt_keeps_the_choices_of_the_other_prompt(name: str, kept: tuple[str, ...]) -> None:
    changed = expand_typed(REQUEST.replace(**{name: "{q|q}"}), {name: "{q|q}"}, [])
    assert isinstance(changed, Txt2Img)
    assert changed.expansion is not None
    assert changed.expansion.choices == (*kept, "{q|q}=q")
    assert changed.expansion.styles == ("film",)
    assert getattr(changed, name) == "q"


def test_invalid_recorded_templates_and_choices_are_ignored() -> None:
    recorded = PromptExpansion("{-1::a|b}" + "{" * 1000, "x", ("=" * 1000, "", "{-1::a|b}=b"))
    changed = expand_typed(REQUEST.replace(negative_prompt="n", expansion=recorded), {"negative_prompt": "n"}, [])
    assert isinstance(changed, Txt2Img)
    assert changed.expansion is not None
    assert changed.expansion.choices == ()


@pytest.mark.parametrize(
    ("changes", "is_used"),
    [
        ({"prompt": "a dog"}, False),
        ({"prompt": "a (my:1.2) dog"}, True),
        ({"negative_prompt": "my"}, True),
        ({"embedding": "my.safetensors:other"}, False),
        ({"embedding": "my.safetensors:fox"}, True),
    ],
    ids=str,
)
def test_recorded_embeddings_without_effect_have_a_note(changes: dict[str, str], is_used: bool, tmp_path: Path) -> None:
    path = tmp_path / "my.safetensors"
    zero_file(path, {"emb_params": (1, 768)})
    values = {key: (f"{tmp_path}/{value}",) if key == "embedding" else value for key, value in changes.items()}
    notes: list[str] = []
    expand_typed(REQUEST.replace(**{"embedding": (f"{path}:my",), **values}), changes, notes)
    assert (
        [note for note in notes if "has no effect" in note] == []
        if is_used
        else [
            f"The embedding 'my.safetensors' has no effect: the prompts do not contain its token "
            f"'{'other' if 'embedding' in changes else 'my'}'."
        ]
    )
