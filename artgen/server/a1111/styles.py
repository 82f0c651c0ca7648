"""Find the styles that a request names. A1111 ignores unknown styles."""

from collections.abc import Sequence

from artgen.errors import ArtgenError
from artgen.spec import config
from artgen.spec.style_files import Style, StyleFolder


def known_styles() -> list[Style]:
    """Return the styles in the user's `style_folder`; an empty list if it is not set or cannot be read."""
    try:
        return StyleFolder(config.style_folder()).styles
    except ArtgenError:
        return []


def find_styles(names: Sequence[object]) -> tuple[list[str], list[str]]:
    """Return the names of existing styles, and the other names. Empty names are skipped."""
    wanted = [str(name) for name in names if name not in (None, "", "None")]
    known = {style.name for style in known_styles()} if wanted else set()
    return [name for name in wanted if name in known], [name for name in wanted if name not in known]
