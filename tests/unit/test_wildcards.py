"""Test wildcards and variants: the parser, the choices for a seed, and the combinations."""

import time
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artgen.errors import UsageError
from artgen.spec.fields import MAX_TEXT_CHARS
from artgen.spec.wildcard_choices import Expansion, Values, choose
from artgen.spec.wildcard_combinations import combine
from artgen.spec.wildcard_notes import unsupported_parts
from artgen.spec.wildcards import Selection, Variant, Wildcard, parse

FILES: Mapping[str, tuple[str, ...]] = {
    "color": ("red", "blue", "green"),
    "animal": ("__color__ fox", "{small|large} dog"),
    "hands": ("HANDS",),
    "my colors": ("pink",),
    "loop": ("__loop__ __loop__",),
    "wide": ("__color__ " * 200,),
}


def lookup(name: str) -> Values | None:
    if name not in FILES:
        raise UsageError(f"No wildcard has the name '{name}'.")
    return Values(FILES[name])


def chosen(text: str, seed: int = 0, expansion: Expansion | None = None, salt: str = "") -> str:
    return choose(text, seed, lookup, expansion or Expansion(), salt=salt)


def results(text: str) -> set[str]:
    return {chosen(text, seed) for seed in range(60)}


def combinations(text: str) -> list[str]:
    return [each for each, _ in combine(text, lookup, Expansion())]


@pytest.mark.parametrize(
    "text",
    [
        "a fox", "", "50% off", "{}", "{a}", "{a, b}", '{"a": 1, "b": [1, 2]}', "a } b { c", "emb__foo", "snake__case",
        "[a|b]", "[fe|]male", "[a:b:0.5]", "a | b", "____", "fill ____ here", "__ a __", "a__", "__a", "{a$$b}",
        "(a:1.2)", "\\(a\\)", "\\\\", "<lora:x:0.8>", "a \\| b", "[a\\|b|c]",
    ],
)  # fmt: skip
def test_text_without_wildcards_is_unchanged(text: str) -> None:
    assert chosen(text) == text
    assert combinations(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\{a|b\\}", "{a|b}"),
        ("\\{", "{"),
        ("\\__color__", "__color__"),
        ("\\__color__ \\{a\\}", "__color__ {a}"),
        ("a\\\\{b}", "a\\\\{b}"),
        ("{a\\|b|a\\|b}", "a|b"),
        ("{\\{a\\}|\\{a\\}}", "{a}"),
    ],
)
def test_escapes_are_resolved(text: str, expected: str) -> None:
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a|b}", {"a", "b"}),
        ("50% {a|b}", {"50% a", "50% b"}),
        ("x{ a|} y", {"x a y", "x y"}),
        ("{a|{b|c}}", {"a", "b", "c"}),
        ("{a|b}{c|d}", {"ac", "ad", "bc", "bd"}),
        ("{0::a|b}", {"b"}),
        ("{0.5::a|.5::b|1e-9::c}", {"a", "b"}),
        ("{[a|b]|c}", {"[a|b]", "c"}),
        ("{[a|b}", {"[a", "b"}),
        ("{a]|b}", {"a]", "b"}),
        ("[{a|b}:c:0.5]", {"[a:c:0.5]", "[b:c:0.5]"}),
        ("[{a|b}|c]", {"[a|c]", "[b|c]"}),
        ("({a|b}:1.2)", {"(a:1.2)", "(b:1.2)"}),
        ("{a {x}|b}", {"a {x}", "b"}),
        ('{"k": "{a|b}"}', {'{"k": "a"}', '{"k": "b"}'}),
        ("{\n  a\n| b c\n}", {"a", "b c"}),
        ("{2$$a|b|c}", {"a, b", "b, a", "a, c", "c, a", "b, c", "c, b"}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{1-2$$ and $$a|b}", {"a", "b", "a and b", "b and a"}),
        ("{0-1$$a|b}", {"", "a", "b"}),
        ("{0$$a|b}", {""}),
        ("{-1$$a|b}", {"a", "b"}),
        ("{2-$$a|b}", {"a, b", "b, a"}),
        ("{2$$|$$a|b}", {"a|b", "b|a"}),
        ("{2$$$$a|b}", {"ab", "ba"}),
        ("{2$$ a | b }", {"a, b", "b, a"}),
        ("{2$$__color__}", {f"{a}, {b}" for a in FILES["color"] for b in FILES["color"] if a != b}),
        ("{1$$__color__|x}", {"red", "blue", "green", "x"}),
        ("__color__", set(FILES["color"])),
        ("__animal__", {"red fox", "blue fox", "green fox", "small dog", "large dog"}),
        ("__color____color__", {a + b for a in FILES["color"] for b in FILES["color"]}),
        ("bad__hands__v4", {"badHANDSv4"}),
        ("__my colors__", {"pink"}),
        ("<lora:__hands__:{0.5|1}>", {"<lora:HANDS:0.5>", "<lora:HANDS:1>"}),
    ],
)
def test_choices(text: str, expected: set[str]) -> None:
    assert results(text) == expected


@pytest.mark.parametrize("text", ["a__b__c", "__no such file__ x", "x __two words__"])
def test_possible_wildcard_without_file_is_text_with_a_note(text: str) -> None:
    expansion = Expansion()
    assert chosen(text, expansion=expansion) == text
    assert "no wildcard has this name" in next(iter(expansion.notes))


def test_selection_of_more_options_than_exist_uses_each_option_once_with_a_note() -> None:
    expansion = Expansion()
    assert sorted(chosen("{5$$a|b}", expansion=expansion).split(", ")) == ["a", "b"]
    assert list(expansion.notes) == ["'{5$$a|b}' selects 2 options, not 5: options are not repeated."]
    assert combinations("{5$$a|b}") == ["a, b"]
    expansion = Expansion()
    chosen("{2$$a}", expansion=expansion)
    assert list(expansion.notes) == ["'{2$$a}' selects 1 option, not 2: options are not repeated."]


@pytest.mark.parametrize("text", ["{1000001$$a|b}", "{99999999$$a|b}", "{1-99999999999$$a|b}", "{-12345678$$a|b}"])
def test_selections_of_large_numbers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Cannot select more than 1,000,000 options"):
        chosen(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{-1::a|b}", "from 0 to 1,000,000, not '-1'"),
        ("{1e999::a|b}", "not '1e999'"),
        ("{nan::a|b}", "not 'nan'"),
        ("{0::a|0::b}", "All weights of '{0::a|0::b}' are 0"),
        ("{3-1$$a|b}", "'3-1' before $$ is empty"),
        ("{9999999$$a|b}", "more than 1,000,000"),
        ("__missing__", "No wildcard has the name 'missing'"),
        ("{a|" * 60 + "b" + "}" * 60, "deeper than 50"),
        ("__loop__", "is nested deeper than 50 levels"),
        ("{a|b}" * 10_001, "more than 10,000"),
        ("__wide__" * 700, "more than"),
    ],
)
def test_invalid_prompt_is_refused(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        chosen(text)
    assert any(
        each in error.value.message for each in expected.split("|" if "|" in expected and "{" not in expected else "\0")
    )
    assert error.value.hint or "missing" in text


def test_weights_are_relative_probabilities() -> None:
    counts = Counter(chosen("{3::a|1::b}", seed) for seed in range(2000))
    assert 0.70 < counts["a"] / 2000 < 0.80


EXPANDABLE = st.sampled_from(["{a|b|c}", "{2$$p|q|r|s}", "__color__", "__animal__", "{x|{y|z}}", "{0.3::k|l|m}"])
OTHER = st.sampled_from(["{o1|o2}", "{2$$o3|o4|o5}", "__hands__", "{o6|{o7|o8}}", "text", "[t|u]", "{a|b|c} "])


@given(st.lists(EXPANDABLE, min_size=1, max_size=4), st.lists(OTHER, max_size=3), st.integers(0, 2**32 - 1), st.data())
def test_another_wildcard_does_not_change_a_choice(
    parts: list[str], others: list[str], seed: int, data: st.DataObject
) -> None:
    others = [other for other in others if other.strip() not in parts]
    alone = chosen(" ; ".join(parts), seed).split(" ; ")
    mixed = list(parts)
    for other in others:
        mixed.insert(data.draw(st.integers(0, len(mixed))), f"#{other}")
    found = chosen(" ; ".join(mixed), seed).split(" ; ")
    assert [text for text, part in zip(found, mixed, strict=True) if not part.startswith("#")] == alone


@given(st.text(alphabet="ab{}|$[]_\\ 0.5:(,\n", max_size=40), st.integers(0, 2**32 - 1))
def test_every_text_is_expanded_or_refused(text: str, seed: int) -> None:
    try:
        result = chosen(text, seed)
    except UsageError:
        return
    assert chosen(text, seed) == result
    if "$$" not in text:  # the order of several selected options is random
        assert result in combinations(text)


def test_equal_wildcards_have_independent_choices() -> None:
    assert len({tuple(chosen("{a|b} {a|b} {a|b}", seed).split()) for seed in range(100)}) == 8


def test_prompts_with_another_salt_have_independent_choices() -> None:
    pairs = {(chosen("{a|b}", seed, salt="prompt"), chosen("{a|b}", seed, salt="negative")) for seed in range(50)}
    assert len(pairs) == 4


def test_choices_are_listed_in_the_order_of_the_prompt() -> None:
    expansion = Expansion()
    text = chosen("{a|b} __animal__", 3, expansion)
    first, second, *inner = expansion.choices
    assert first == f"{{a|b}}={text[0]}"
    assert second == f"__animal__={text[2:]}"
    assert len(inner) == 1


def test_choices_are_the_same_on_every_machine() -> None:
    found = " ".join(chosen("{red|green|blue}", seed) for seed in range(8))
    assert found == "blue red blue blue red red blue red"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {b|c} {d|e}", ["a b d", "a b e", "a c d", "a c e"]),
        ("__animal__", ["red fox", "blue fox", "green fox", "small dog", "large dog"]),
        ("{2$$a|b|c}", ["a, b", "a, c", "b, c"]),
        ("{1-2$$-$$a|{b|c}}", ["a", "b", "c", "a-b", "a-c"]),
        ("{a|a}", ["a"]),
        ("{0::a|b}", ["b"]),
        ("{2$$__color__}", ["red, blue", "red, green", "blue, green"]),
        ("{1$$a}" * 3000, ["a" * 3000]),
    ],
)
def test_combinations(text: str, expected: list[str]) -> None:
    assert combinations(text) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("{a|b}" * 17, "131,072"),
        ("{a|b|c|d}" * 200, "more than 1,000,000,000,000,000"),
        (f"{{5$${'|'.join(map(str, range(40)))}}}", "658,008"),
        (f"{{20000$${'|'.join(map(str, range(30_000)))}}}", "more than"),
        ("__wide__" * 5, "more than"),
    ],
)
def test_too_many_combinations_are_refused_with_their_number(text: str, number: str) -> None:
    with pytest.raises(UsageError, match=f"to {number}.* combinations: the maximum is 100,000") as error:
        combinations(text)
    assert "--combinatorial" in error.value.hint


HOSTILE = [
    "{" * MAX_TEXT_CHARS, "{a|" * 33_000, "[" * 50_000 + "|" * 50_000, "{[|" * 30_000 + "}" * 10_000, "__a" * 33_000,
    "__a " * 25_000, "{1$$" * 25_000, "\\" * MAX_TEXT_CHARS, "_" * MAX_TEXT_CHARS, "{" * 45 + "a|b" * 30_000 + "}" * 45,
    "{1$$a}" * 10_000, "\\__" * 33_000, "{0.5::" * 16_000, "|" * MAX_TEXT_CHARS, "{a|b" * 20_000 + "}" * 20_000,
]  # fmt: skip


def test_time_is_linear_for_hostile_prompts() -> None:
    start = time.process_time()
    for text in HOSTILE:
        try:
            parse.__wrapped__(text)
        except UsageError:
            continue
    assert time.process_time() - start < 30


def test_parts_of_a_prompt() -> None:
    assert parse("a __x/y*__ {2-3$$ $$b|c}") == (
        "a ",
        Wildcard("__x/y*__", "x/y*"),
        " ",
        Variant("{2-3$$ $$b|c}", parse("{b|c}")[0].options, Selection(2, 3, " ")),  # type: ignore[union-attr]
    )


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("{a|b", "A brace without a counterpart"),
        ("a|b}", "A brace without a counterpart"),
        ("{~a|b}", "does not support samplers"),
        ("x {@a|b}", "does not support samplers"),
        ("${c=!{a|b}} ${c}", "does not support variables"),
        ("{1.5$$a|b}", "'{1.5$$' is text"),
        ("{$$a|b}", "'{$$' is text"),
        ("{a|b}", ""),
        ("{2 $$a|b}", ""),
        ("{-2$$ and $$a|b|c}", ""),
        ("\\{a|b", ""),
        ('{"a": 1}', ""),
    ],
)
def test_unsupported_parts_have_a_note(text: str, note: str) -> None:
    assert note in "".join(unsupported_parts(text))
    assert bool(unsupported_parts(text)) == bool(note)
