"""Where pictures go, and what is printed."""

from dataclasses import dataclass

from artgen.spec.fields import option


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """Where pictures go."""

    output: str | None = option(
        None,
        "A file, a folder (with a trailing /) or a template such as `{seed}-{prompt}.png`. [outputs/]",
        flags=("-o", "--output"),
    )
    format: str | None = option(None, "File format. [png]", choices=("png", "jpeg", "jpg", "webp"))
    quality: int | None = option(None, "Quality of JPEG and WebP. [95]", minimum=1, maximum=100)
    png_level: int | None = option(None, "How hard PNG is compressed. [fast]", minimum=0, maximum=9)
    overwrite: bool = option(False, "Replace a file that exists.")
    metadata: str = option(
        "full",
        "What the picture tells of its making: all, only that a model made it, or nothing.",
        choices=("full", "minimal", "none"),
    )


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What is printed."""

    json: bool = option(False, "Print a JSON record for each picture instead of its path.", flags=("--json",))
    dry_run: bool = option(False, "Check everything, print what would be made, draw nothing.", flags=("--dry-run",))
    quiet: bool = option(False, "Only errors on stderr.", flags=("-q", "--quiet"))
    verbose: bool = option(False, "Also say what is loaded and how long each picture took.", flags=("-v", "--verbose"))
