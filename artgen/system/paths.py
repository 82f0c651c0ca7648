"""Locate artgen's folders of the current user."""

from pathlib import Path


def user_cache_folder() -> Path:
    """Return artgen's folder in the platform's cache folder. It contains only data that artgen can recreate."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("artgen", appauthor=False))


def user_data_folder() -> Path:
    """Return artgen's folder in the platform's data folder. It contains files that the user downloaded with artgen."""
    import platformdirs

    return Path(platformdirs.user_data_dir("artgen", appauthor=False))


def user_state_folder() -> Path:
    """Return artgen's folder in the platform's state folder. It contains data that artgen can do without."""
    import platformdirs

    return Path(platformdirs.user_state_dir("artgen", appauthor=False))
