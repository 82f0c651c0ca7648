"""Write numbers of things with the right form of the noun, sizes of files, and durations."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: `1 image`, `2 images`, `1,000 images`.

    Args:
        count: number of things, 0 or more.
        noun: noun for one thing, and further words that depend on the number: `image is missing`.
        plural: noun for any other number. Empty adds an `s` to `noun`.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_bytes(num_bytes: int) -> str:
    """Return a size such as `4.3 GB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} B"


def format_duration(seconds: float) -> str:
    """Return a duration such as `45 s`, `3:07 min` or `2:15 h`."""
    rounded = round(seconds)
    if rounded < 100:
        return f"{rounded} s"
    if rounded < 6000:
        return f"{rounded // 60}:{rounded % 60:02} min"
    return f"{rounded // 3600}:{rounded % 3600 // 60:02} h"
