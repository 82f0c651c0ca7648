"""Where pictures go, and what is printed."""

from dataclasses import dataclass

from artgen.declarations import setting


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where pictures go."""

    output: str | None = setting(
        None,
        "A file, a folder (with a trailing /) or a template such as `{seed}-{prompt}.png`. [outputs/]",
        flags=("-o", "--output"),
    )
    format: str | None = setting(None, "File format. [png]", choices=("png", "jpeg", "jpg", "webp"))
    quality: int | None = setting(None, "Quality of JPEG and WebP. [95]", minimum=1, maximum=100)
    png_level: int | None = setting(None, "How hard PNG is compressed. [fast]", minimum=0, maximum=9)
    overwrite: bool = setting(False, "Replace a file that exists.")
    metadata: str = setting(
        "full",
        "What the picture tells of its making: all, only that a model made it, or nothing.",
        choices=("full", "minimal", "none"),
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is printed."""

    json: bool = setting(False, "Print a JSON record for each picture instead of its path.", flags=("--json",))
    dry_run: bool = setting(False, "Check everything, print what would be made, draw nothing.", flags=("--dry-run",))
    quiet: bool = setting(False, "Only errors on stderr.", flags=("-q", "--quiet"))
    verbose: bool = setting(False, "Also say what is loaded and how long each picture took.", flags=("-v", "--verbose"))
