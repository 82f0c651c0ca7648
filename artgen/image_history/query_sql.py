"""Convert a search of the history to SQL. All values are parameters of the statement."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from artgen.image_history.query import HistoryQuery, SizeRange
from artgen.image_history.query_text import text_expressions


class Condition(NamedTuple):
    """Store a condition on the rows of the table `image`.

    Attributes:
        sql: expression after `WHERE`.
        parameters: values of its parameters, in order.
    """

    sql: str
    parameters: tuple[Any, ...]


def select_ids(query: HistoryQuery) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that selects the ids of the entries of a search, the newest first, and its parameters."""
    condition = query_condition(query)
    limit = -1 if query.limit is None else query.limit
    sql = f"SELECT image.id FROM image WHERE {condition.sql} ORDER BY image.made_utc DESC, image.id DESC LIMIT ?"
    return sql, (*condition.parameters, limit)


def query_condition(query: HistoryQuery) -> Condition:
    """Return the condition that the rows of a search fulfill; the limit of the search is not part of it."""
    parts = [*_column_conditions(query), *_size_conditions(query.size or SizeRange()), *_text_conditions(query.text)]
    sql = " AND ".join(f"({part.sql})" for part in parts)
    return Condition(sql or "1", tuple(value for part in parts for value in part.parameters))


def _column_conditions(query: HistoryQuery) -> Iterator[Condition]:
    if query.model is not None:
        names = ", ".join("?" * len(query.model_names))
        pattern = like_pattern(query.model)
        yield Condition(
            rf"image.model LIKE ? ESCAPE '\' OR lower(image.model) IN ({names})", (pattern, *query.model_names)
        )
    if query.lora is not None:
        yield Condition(r"image.loras LIKE ? ESCAPE '\'", (like_pattern(query.lora.lower()),))
    if query.task is not None:
        yield Condition("image.task = ?", (query.task,))
    if query.rating == 0:
        yield Condition("image.rating IS NULL", ())
    elif query.rating is not None:
        yield Condition("image.rating >= ?", (query.rating,))
    if query.since is not None:
        yield Condition("image.made_utc >= ?", (query.since,))
    if query.until is not None:
        yield Condition("image.made_utc < ?", (query.until,))
    for tag in query.tags:
        yield Condition("image.id IN (SELECT image_id FROM tag WHERE name = ?)", (tag,))


def _size_conditions(size: SizeRange) -> Iterator[Condition]:
    for column, lowest, highest in (
        ("image.width", size.min_width, size.max_width),
        ("image.height", size.min_height, size.max_height),
        ("max(image.width, image.height)", size.min_side, size.max_side),
    ):
        if lowest is not None:
            yield Condition(f"{column} >= ?", (lowest,))
        if highest is not None:
            yield Condition(f"{column} <= ?", (highest,))


def _text_conditions(text: str) -> Iterator[Condition]:
    required, excluded = text_expressions(text)
    found = "(SELECT rowid FROM image_fts WHERE image_fts MATCH ?)"
    if required:
        yield Condition(f"image.id IN {found}", (required,))
    if excluded:
        yield Condition(f"image.id NOT IN {found}", (excluded,))


def like_pattern(text: str) -> str:
    r"""Return the pattern of LIKE for texts that contain `text`, with the escape character `\`."""
    escaped = text.encode("utf-8", "replace").decode().replace("\0", " ")
    for character in ("\\", "%", "_"):
        escaped = escaped.replace(character, f"\\{character}")
    return f"%{escaped}%"
