"""Test the grammar of `--mask-text`, the algebra of its scores, and recorded masks."""

import zlib
from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from artgen.errors import InputFileError, UsageError
from artgen.images import text_mask
from artgen.spec.mask_text import And, Grown, Not, Or, Scaled, Term, parse_mask_text, phrases

DOG, CAT, FOX = Term("dog"), Term("cat"), Term("red fox")

PARSED = {
    "dog": DOG,
    "  Red   Fox ": Term("Red Fox"),
    "salt and pepper": Term("salt and pepper"),
    '"AND" OR "x & y"': Or((Term("AND"), Term("x & y"))),
    "dog AND NOT cat": And((DOG, Not(CAT))),
    "dog&!cat|red fox": Or((And((DOG, Not(CAT))), FOX)),
    "dog OR cat AND red fox": Or((DOG, And((CAT, FOX)))),
    "(dog OR cat) AND red fox": And((Or((DOG, CAT)), FOX)),
    "NOT dog{+8}": Not(Grown(DOG, 8)),
    "(NOT dog){-6}": Grown(Not(DOG), -6),
    "dog{*1.5}{+2.5}": Grown(Scaled(DOG, 1.5), 2.5),
    "(dog|cat){/2}": Scaled(Or((DOG, CAT)), 2, is_divisor=True),
    'the "quoted \\" word" here': Term('the quoted " word here'),
    "the dog's ear": Term("the dog's ear"),
}

INVALID = {
    "": (1, "expected a phrase"),
    "dog AND": (8, "expected a phrase"),
    "dog cat OR OR fox": (12, "expected a phrase"),
    "(dog": (5, "expected ')'"),
    "dog)": (4, "expected AND, OR or the end, not ')'"),
    "dog NOT cat": (5, "expected AND, OR"),
    "dog (cat)": (5, "expected AND, OR"),
    "dog{8}": (4, "{*NUMBER}"),
    "dog{+600}": (4, "at most 512"),
    "dog{*0}": (4, "weight"),
    "dog{*inf}": (4, "{*NUMBER}"),
    'a "dog': (7, 'expected " for the " at character 3, not the end'),
    "dog{+8": (7, "expected } for the { at character 4, not the end"),
    "dog } cat": (5, "expected a phrase or an operator, not '}'"),
    '""': (1, "no word"),
    "!" * 40 + "dog": (33, "levels"),
    "(" * 40 + "dog": (33, "levels"),
    "dog" + "{+1}" * 40: (132, "changes"),
    "|".join(["dog"] * 40): (129, "phrases"),
}


@pytest.mark.parametrize("text", PARSED)
def test_parse_gives_expected_tree(text):
    assert parse_mask_text(text) == PARSED[text]


@pytest.mark.parametrize("text", INVALID)
def test_invalid_expression_is_refused_with_its_position(text):
    position, reason = INVALID[text]
    with pytest.raises(UsageError) as raised:
        parse_mask_text(text)
    assert f"at character {position}: " in raised.value.message
    assert reason in raised.value.message


def test_long_expression_is_refused():
    with pytest.raises(UsageError, match="maximum is 2,000"):
        parse_mask_text("dog " * 1000)


WORDS = st.text(st.sampled_from("aB'\"&{}()|!\\-ß"), min_size=1, max_size=4) | st.sampled_from(["AND", "or", "NOT"])
TERMS = st.builds(lambda words: Term(" ".join(words)), st.lists(WORDS, min_size=1, max_size=3))
NUMBERS = st.sampled_from([0.001, 0.5, 1.0, 2.0, 7.25, 300.0])


def _operators(tree):
    several = st.lists(tree, min_size=2, max_size=3).map(tuple)
    return (
        st.builds(Not, tree)
        | st.builds(And, several)
        | st.builds(Or, several)
        | st.builds(Scaled, tree, NUMBERS, st.booleans())
        | st.builds(Grown, tree, NUMBERS | NUMBERS.map(lambda number: -number))
    )


TREES = st.recursive(TERMS, _operators, max_leaves=8)


@given(TREES)
@settings(max_examples=150, deadline=None)
def test_canonical_text_parses_to_the_same_tree(tree):
    assert parse_mask_text(str(tree)) == tree


SCORES = {
    name: np.random.default_rng(index).random((12, 15), np.float32) for index, name in enumerate(("dog", "cat", "fox"))
}


def _reference_score(tree, size=(12, 15)):
    """Compute the score of each pixel directly, with a dilation of gray values by a disk."""
    match tree:
        case Term(text):
            return SCORES[text].astype(np.float64)
        case Not(operand):
            return 1 - _reference_score(operand)
        case And(parts):
            return np.minimum.reduce([_reference_score(part) for part in parts])
        case Or(parts):
            return np.maximum.reduce([_reference_score(part) for part in parts])
        case Scaled():
            return np.clip(_reference_score(tree.operand) * tree.multiplier, 0, 1)
    score, radius = _reference_score(tree.operand), abs(tree.pixels)
    sign = 1 if tree.pixels > 0 else -1
    rows, columns = np.mgrid[: size[0], : size[1]]
    near = (rows[..., None, None] - rows) ** 2 + (columns[..., None, None] - columns) ** 2 <= radius**2
    return sign * np.where(near, sign * score, -np.inf).max(axis=(2, 3))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    "text",
    [
        "dog",
        "dog AND NOT cat",
        "(dog OR NOT (cat AND fox)){+2}",
        "NOT (dog{-1.5} OR cat{*1.7})",
        "NOT dog{/3}{+3}",
        "NOT NOT dog{*4} AND NOT (NOT cat){+1}",
    ],
)
def test_selected_pixels_have_the_scores_of_the_gray_computation(text, threshold):
    tree = parse_mask_text(text)
    found = text_mask.select_pixels(tree, {name: each.astype(np.float64) for name, each in SCORES.items()}, threshold)
    assert (found == (_reference_score(tree) >= threshold)).all()
    assert found.any() or threshold == 0.9


def test_growth_is_a_disk_and_shrinking_keeps_the_borders_of_the_image():
    scores = {"dog": np.zeros((21, 21))}
    scores["dog"][10, 10] = 1
    grown = text_mask.select_pixels(DOG, scores, 0.5, grow=5)
    assert grown[10, 15]
    assert not grown[14, 14]
    scores["dog"][:, :4] = 1
    shrunk = text_mask.select_pixels(DOG, scores, 0.5, grow=-2)
    assert shrunk.sum() == 21 * 2


def test_highest_score_ignores_growth():
    assert text_mask.highest_score(parse_mask_text("dog{+3} AND cat"), SCORES) == pytest.approx(
        float(np.minimum(SCORES["dog"], SCORES["cat"]).max())
    )
    assert phrases(parse_mask_text("dog AND (cat OR dog)")) == ("dog", "cat")


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (64, 40), (129, 65)])
def test_packed_mask_gives_the_same_mask(size):
    values = (np.random.default_rng(0).random(size[::-1]) > 0.5) * np.uint8(255)
    mask = Image.fromarray(values, "L")
    assert text_mask.unpack_mask(text_mask.pack_mask(mask), size).tobytes() == mask.tobytes()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64!",
        b64encode(b"no zlib").decode(),
        b64encode(zlib.compress(bytes(7))).decode(),
        b64encode(zlib.compress(bytes(1 << 24))).decode(),
        "A" * (text_mask.MAX_PACKED_CHARS + 4),
    ],
    ids=["empty", "no base64", "no zlib", "short", "bomb", "long"],
)
def test_damaged_recorded_mask_is_refused(text):
    with pytest.raises(InputFileError, match="not a mask of 64x64"):
        text_mask.unpack_mask(text, (64, 64))
