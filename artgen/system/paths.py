"""Find the folders that belong to the user."""

from pathlib import Path


def user_cache_folder() -> Path:
    """Where artgen keeps what it can make again, in the platform's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("artgen", appauthor=False))
