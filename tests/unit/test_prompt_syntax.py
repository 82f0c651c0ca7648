"""Test the parser of prompts with the published numbers of AUTOMATIC1111 and the weights of ComfyUI, in linear time."""

import contextlib
import itertools
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artgen.errors import UsageError
from artgen.spec.prompt_syntax import (
    Break,
    WeightedPrompt,
    WeightedText,
    check_syntax,
    escape,
    has_syntax,
    parse_composition,
    parse_schedule,
    parse_weights,
    plain_text,
)

MAX_GROWTH, MIN_SECONDS = 8, 1.0
SHORT_CHARS, LONG_CHARS = 12_500, 50_000


def weights(text: str, rule: str = "a1111") -> list[tuple[str, float]]:
    parts = parse_weights(text, rule)
    return [("BREAK", -1) if isinstance(part, Break) else (part.text, part.weight) for part in parts]


def schedule(text: str, steps: int = 10) -> list[tuple[int, str]]:
    return [(part.last_step, part.text) for part in parse_schedule(text, steps)]


A1111_WEIGHTS = {
    # the examples of AUTOMATIC1111's parse_prompt_attention
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(unbalanced": [("unbalanced", 1.1)],
    r"\(literal\]": [("(literal]", 1.0)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1.0),
        ("house", 1.5730000000000004),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641000000000006),
        (".", 1.1),
    ],
    # cases that its grammar decides
    "": [("", 1.0)],
    "((x))": [("x", 1.2100000000000002)],
    "[x]": [("x", 1 / 1.1)],
    "[[x]]": [("x", 1 / 1.1 / 1.1)],
    "(a:-1) (b:+2) (c:.5)": [("a", -1.0), (" ", 1.0), ("b", 2.0), (" ", 1.0), ("c", 0.5)],
    "(a:0)": [("a", 0.0)],
    "(a : 1.5)": [("a : 1.5", 1.1)],
    "(a :1.5)": [("a ", 1.5)],
    "((a:1.2):1.5)": [("a", 1.7999999999999998)],
    "(x (a:1.2) y:1.5)": [("x ", 1.5), ("a", 1.7999999999999998), (" y", 1.5)],
    "[(a:1.2):1.5]": [("a", 1.2 / 1.1), (":1.5", 1 / 1.1)],
    "(a [b) c]": [("a ", 1.1), ("b", 1.1 * (1 / 1.1)), (" c", 1 / 1.1)],
    "(a:1.5": [("a:1.5", 1.1)],
    "trailing ((": [("trailing ", 1.0)],
    "]stray[": [("]stray", 1.0)],
    "a :1.5) b": [("a :1.5) b", 1.0)],
    ":) (smile :) :(": [(":) ", 1.0), ("smile :", 1.1), (" :", 1.0)],
    "(nier:automata:1.2)": [("nier:automata", 1.2)],
    r"\\ \a \[": [("\\ a [", 1.0)],
    "trailing \\": [("trailing ", 1.0)],
    "a BREAK b": [("a", 1.0), ("BREAK", -1), ("b", 1.0)],
    "BREAK": [("BREAK", -1)],
    "(a BREAK b:1.2)": [("a", 1.2), ("BREAK", -1), ("b", 1.2)],
    "a,\nBREAK\nb BREAK": [("a,", 1.0), ("BREAK", -1), ("b", 1.0), ("BREAK", -1)],
    "BREAKfast break": [("BREAKfast break", 1.0)],
    r"B\REAK": [("BREAK", 1.0)],
}


@pytest.mark.parametrize("text", A1111_WEIGHTS, ids=repr)
def test_weights_equal_the_published_numbers_of_a1111(text: str) -> None:
    assert weights(text) == A1111_WEIGHTS[text]


COMFY_WEIGHTS = {
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "((a))": [("a", 1.2100000000000002)],
    "((a:1.2):1.5)": [("a", 1.2)],
    "(x (a:1.2) y:1.5)": [("x ", 1.5), ("a", 1.2), (" y", 1.5)],
    "((a):1.5)": [("a", 1.6500000000000001)],
    "[a] [b:c:0.5] BREAK {a|b} AND": [("[a] [b:c:0.5] BREAK {a|b} AND", 1.0)],
    r"\(a\) (b\):1.2)": [("(a) ", 1.0), ("b)", 1.2)],
    r"\[ \\ \a": [(r"\[ \\ \a", 1.0)],
    "(a: 1.2)": [("a", 1.2)],
    "(a:b)": [("a:b", 1.1)],
    "(a:)": [("a:", 1.1)],
    "(:1.2)": [(":1.2", 1.1)],
    "(a:-1)": [("a", -1.0)],
    "a (b": [("a (b", 1.0)],
    "a (b (c)": [("a ", 1.0), ("b (c", 1.1)],
    "((a) (b:1.5)": [("a", 1.6500000000000001), (" (b", 1.5)],
    ") (a) ((b))": [(") (a) (", 1.0), ("b", 1.1), (")", 1.0)],
    "()": [("", 1.0)],
    "": [("", 1.0)],
}


@pytest.mark.parametrize("text", COMFY_WEIGHTS, ids=repr)
def test_weights_of_the_comfy_rule_are_absolute(text: str) -> None:
    assert weights(text, "comfy") == COMFY_WEIGHTS[text]


def alternate(*texts: str, steps: int = 10) -> list[tuple[int, str]]:
    return [(step, texts[(step - 1) % len(texts)]) for step in range(1, steps + 1)]


SCHEDULES = {
    # the examples of AUTOMATIC1111's get_learned_conditioning_prompt_schedules
    "test": [(10, "test")],
    "a [b:3]": [(3, "a "), (10, "a b")],
    "a [b: 3]": [(3, "a "), (10, "a b")],
    "a [[[b]]:2]": [(2, "a "), (10, "a [[b]]")],
    "[(a:2):3]": [(3, ""), (10, "(a:2)")],
    "a [b : c : 1] d": [(1, "a b  d"), (10, "a  c  d")],
    "a[b:[c:d:2]:1]e": [(1, "abe"), (2, "ace"), (10, "ade")],
    "a [unbalanced": [(10, "a [unbalanced")],
    "a [b:.5] c": [(5, "a  c"), (10, "a b c")],
    "a [{b|d{:.5] c": [(5, "a  c"), (10, "a {b|d{ c")],
    "((a][:b:c [d:3]": [(3, "((a][:b:c "), (10, "((a][:b:c d")],
    "[a|(b:1.1)]": alternate("a", "(b:1.1)"),
    "[fe|]male": alternate("female", "male"),
    "[fe|||]male": alternate("female", "male", "male", "male"),
    # cases that its grammar decides
    "": [(10, "")],
    "a [b::3] c": [(3, "a b c"), (10, "a  c")],
    "a [:b:3] c": [(3, "a  c"), (10, "a b c")],
    "[a:b:0]": [(10, "b")],
    "[a:b:-1]": [(10, "b")],
    "[a:b:1]": [(1, "a"), (10, "b")],
    "[a:b:0.05]": [(10, "b")],
    "[a:b:1.0]": [(10, "a")],
    "[a:b:99]": [(10, "a")],
    "[a:b:1e999]": [(10, "a")],
    "[a:b:0.25 ]": [(2, "a"), (10, "b")],
    "[a|b|c]": alternate("a", "b", "c"),
    "[[a|b]]": alternate("[a]", "[b]"),
    "[a|[b:c:4]]": alternate("a", "b")[:4] + alternate("a", "c")[4:],
    "[a:[b|c]:8]": [(i, "a") for i in range(1, 9)] + [(9, "b"), (10, "c")],
    "[a:b]": [(10, "[a:b]")],
    "[a:b:c:3]": [(10, "[a:b:c:3]")],
    "[a:b:half]": [(10, "[a:b:half]")],
    "[a (b:c:3]": [(10, "[a (b:c:3]")],
    "[(a:b:c):d:3]": [(10, "[(a:b:c):d:3]")],
    "a | b (c|d) {e|f}": [(10, "a | b (c|d) {e|f}")],
    r"\[a:b:3\] [c\]:d\::3]": [(3, r"\[a:b:3\] c\]"), (10, r"\[a:b:3\] d\:")],
    "[a:b:3]\n\\": [(3, "a\n\\"), (10, "b\n\\")],
}


@pytest.mark.parametrize("text", SCHEDULES, ids=repr)
def test_schedules_equal_the_published_numbers_of_a1111(text: str) -> None:
    assert schedule(text) == SCHEDULES[text]


def test_the_schedule_of_the_documentation_of_a1111() -> None:
    text = (
        "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6]"
        "[: in background:0.25] [shoddy:masterful:0.5]"
    )
    start = "fantasy landscape with a"
    assert schedule(text, 100) == [
        (25, f"{start} mountain and an oak in foreground shoddy"),
        (50, f"{start} lake and an oak in foreground in background shoddy"),
        (60, f"{start} lake and an oak in foreground in background masterful"),
        (75, f"{start} lake and an oak in background masterful"),
        (100, f"{start} lake and a christmas tree in background masterful"),
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a fox", [("a fox", 1.0)]),
        ("a fox :1.5", [("a fox :1.5", 1.0)]),
        ("a AND b :0.6", [("a", 1.0), ("b", 0.6)]),
        ("a:1.2 AND b AND c: -2.", [("a", 1.2), ("b", 1.0), ("c", -2.0)]),
        ("a\nAND\nb :.5\n", [("a", 1.0), ("b", 0.5)]),
        ("AND b", [("", 1.0), ("b", 1.0)]),
        ("a AND (b:1.2)", [("a", 1.0), ("(b:1.2)", 1.0)]),
        ("a AND b :x", [("a", 1.0), ("b :x", 1.0)]),
        ("a AND b :1e3", [("a", 1.0), ("b :1e3", 1.0)]),
        ("SAND AND bAND and", [("SAND", 1.0), ("bAND and", 1.0)]),
    ],
)
def test_composition(text: str, parts: list[tuple[str, float]]) -> None:
    assert parse_composition(text) == tuple(itertools.starmap(WeightedPrompt, parts))


TOKENS = ["(", ")", "[", "]", ":", "|", "\\", "BREAK", "AND", " ", "1.5", "a", ".", "{", "\n", "é", "\x00", "\\("]
texts = st.one_of(st.text(), st.lists(st.sampled_from(TOKENS)).map("".join))


@given(texts, st.sampled_from(["a1111", "comfy", "none"]))
def test_an_escaped_text_is_read_as_that_text(text: str, rule: str) -> None:
    escaped = escape(text, rule)
    assert parse_weights(escaped, rule) == (WeightedText(text, 1.0),)
    assert plain_text(escaped, rule) == text
    check_syntax(escaped, rule)


@given(texts)
def test_an_escaped_text_has_one_prompt_for_all_steps(text: str) -> None:
    escaped = escape(text)
    assert parse_composition(escaped) == (WeightedPrompt(escaped, 1.0),)
    assert schedule(escaped, 7) == [(7, escaped)]


@given(texts, st.integers(1, 30))
def test_every_text_is_parsed_or_refused(text: str, steps: int) -> None:
    for rule in ("a1111", "comfy", "none"):
        weighted = parse_weights(text, rule)
        assert all(a != b or isinstance(a, Break) for a, b in itertools.pairwise(weighted))
        plain_text(text, rule)
        has_syntax(text, rule)
        with contextlib.suppress(UsageError):
            check_syntax(text, rule)
    ranges = schedule(text, steps)
    last_steps = [last for last, _ in ranges]
    assert last_steps == sorted(set(last_steps))
    assert last_steps[0] >= 1
    assert last_steps[-1] == steps


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("a fox", "a1111", False),
        ("a fox, 16:9 :) ] | {a|b} 5 < 7", "a1111", False),
        ("(a)", "none", False),
        ("[a] BREAK a AND b [a|b]", "comfy", False),
        *((text, "a1111", True) for text in ("(a)", "[a]", r"\(", "a BREAK", "a AND b", "[a|b]", "[a:0.5]", "(a:1)")),
        *((text, "comfy", True) for text in ("(a)", r"\(", "(a:1)")),
    ],
)
def test_has_syntax(text: str, rule: str, expected: bool) -> None:
    assert has_syntax(text, rule) is expected


@pytest.mark.parametrize(
    ("text", "rule", "plain"),
    [
        (r"a (red:1.3) [fox] BREAK b \(x\)", "a1111", "a red fox b (x)"),
        (r"a (red:1.3) [fox] BREAK b \(x\)", "comfy", "a red [fox] BREAK b (x)"),
        (r"a (red:1.3) \(x\)", "none", r"a (red:1.3) \(x\)"),
    ],
)
def test_plain_text_has_no_weights(text: str, rule: str, plain: str) -> None:
    assert plain_text(text, rule) == plain


REFUSED = {
    "(red:abc)": "The weight of 'red' must be a number, not 'abc'.",
    "a [(red:abc):b:3]": "The weight of 'red' must be a number, not 'abc'.",
    "((red:1.2) fox:high)": "The weight of '(red:1.2) fox' must be a number, not 'high'.",
    "(red:1,3)": "The weight of 'red' must be a number, not '1,3'.",
    "(red:1.2.3)": "The weight of 'red' must be a number, not '1.2.3'.",
    "(red:nan)": "The weight of 'red' must be a number, not 'nan'.",
    "(red:inf)": "The weight of 'red' must be a number, not 'inf'.",
    "(red:1e3)": "The weight of 'red' must be a number, not '1e3'.",
    "(red:1.3x)": "The weight of 'red' must be a number, not '1.3x'.",
    "(red:99999)": "The weight of 'red' must be at most 1000, not 99999.",
    "(red:-99999)": "The weight of 'red' must be at most 1000, not -99999.",
    f"(red:{'9' * 400})": f"The weight of 'red' must be a number, not '{'9' * 57}...'.",
    "a AND b :99999": "The weight of 'b' must be at most 1000, not 99999.",
    f"{'(' * 80}a{')' * 80}": "The weight of 'a' must be at most 1000, not 2048.4.",
    "(" * 101: "A prompt can have at most 100 nested brackets.",
    "[" * 101: "A prompt can have at most 100 nested brackets.",
    "[a:b:1.5]": "The last number of '[a:b:1.5]' must be a step or a fraction below 1, not 1.5.",
    "[a|[b:c:2.0]]": "The last number of '[b:c:2.0]' must be a step or a fraction below 1, not 2.0.",
    "[a|b]" * 1001: "A prompt can have at most 1000 parts such as [a:b:0.5] and [a|b], not 1001.",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:20]))
def test_invalid_syntax_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_syntax(text, "a1111")
    assert caught.value.message == REFUSED[text]
    assert caught.value.hint


@pytest.mark.parametrize("text", ["(red:abc)", "(red:nan)", "(red:inf)", "(a (b:1,5):1.2)", "(" * 101, "(a:9999)"])
def test_invalid_syntax_of_the_comfy_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        check_syntax(text, "comfy")


@pytest.mark.parametrize("rule", ["a1111", "comfy", "none"])
@pytest.mark.parametrize(
    "text",
    [
        *(":)", ":(", "(:", ";)", ":3", ">:(", "(:3)", "(:D)", "(smile:D)", "(smile :D)", "(o_o)", "\\o/", "8)"),
        "(masterpiece:)",
        "(theme: dark and gloomy)",
        "(red: 1.3)",
        "(nier:automata:1.2)",
        r"\(nier:automata\)",
        "16:9 (16:9)",
        "https://example.com/a(b)",
        "(((unclosed",
        "a)))",
        "[a:b] [a:b:c] [a:b:c:4] [:] [|] () []",
        '{"prompt": "a fox", "size": [1, 2]}',
        "(a|b) {a|b}",
    ],
)
def test_text_that_a1111_accepts_is_not_refused(text: str, rule: str) -> None:
    check_syntax(text, rule)


def grammar() -> list[tuple[str, str, str]]:
    """Return texts that are repeated between a prefix and a suffix."""
    choose = random.Random(0)
    parts = [*TOKENS, *map("".join, choose.sample([*itertools.product(TOKENS, repeat=3)], 24))]
    return [(choose.choice(["", "(", "[", "[a:", "[a|"]), part, choose.choice(["", ")", "]", ":3]"])) for part in parts]


def seconds(function: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    with contextlib.suppress(UsageError):
        function(text)
    return time.process_time() - start


@pytest.mark.parametrize("shape", grammar(), ids=repr)
def test_prompts_are_parsed_in_linear_time(shape: tuple[str, str, str]) -> None:
    def parse(text: str) -> None:
        for function in (
            lambda text: check_syntax(text, "a1111"),
            lambda text: check_syntax(text, "comfy"),
            lambda text: parse_weights(text, "a1111"),
            lambda text: parse_weights(text, "comfy"),
            lambda text: parse_schedule(text, 3),
            parse_composition,
            escape,
        ):
            seconds(function, text)

    prefix, part, suffix = shape
    short, long = (
        seconds(parse, prefix + part * (num_chars // len(part)) + suffix) for num_chars in (SHORT_CHARS, LONG_CHARS)
    )
    assert long < max(MIN_SECONDS, MAX_GROWTH * short)


@pytest.mark.parametrize("part", ["[a|b]", "[a:b:0.5]", "[a|b|c|d|e]", "[a|[b|[c|d]]]"])
def test_a_schedule_of_a_thousand_steps_is_parsed_in_bounded_time(part: str) -> None:
    assert seconds(lambda text: parse_schedule(text, 1000), part * (1000 // part.count("[")) + "a" * 90_000) < 10


@pytest.mark.parametrize("opening", ["(", "["])
def test_nested_brackets_are_parsed_in_bounded_time(opening: str) -> None:
    assert seconds(lambda text: parse_weights(text, "a1111"), opening * 100 + r"\(" * 49_000) < 5
    assert seconds(lambda text: parse_weights(text, "comfy"), opening * 100 + r"\(" * 49_000 + ")" * 60) < 5
