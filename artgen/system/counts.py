"""Write numbers of things with the right form of the noun."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: `1 image`, `2 images`, `1,000 images`.

    Args:
        count: number of things, 0 or more.
        noun: noun for one thing, and further words that depend on the number: `image is missing`.
        plural: noun for any other number. Empty adds an `s` to `noun`.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
