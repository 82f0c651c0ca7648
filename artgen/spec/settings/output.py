"""Declare the settings of the written files and of the printed text."""

from dataclasses import dataclass
from functools import partial

from artgen.spec.fields import option as any_option

option = partial(any_option, sweepable=False, affects=("file",))


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """Store the file name and the file format of the images."""

    output: str | None = option(
        None,
        "File, folder (with a trailing /), template such as `{seed}-{prompt}.png`, or - for stdout. [outputs/]",
        brief="File, folder/, or template such as {seed}.png.",
        metavar="FILE|FOLDER/",
        flags=("-o", "--output"),
        values="files",
    )
    format: str | None = option(None, "File format. [png]", choices=("png", "jpeg", "jpg", "webp"))
    quality: int | None = option(None, "JPEG and WebP quality. [95]", minimum=1, maximum=100)
    # PNG is lossless: the level changes only the size of the file.
    png_level: int | None = option(None, "PNG compression level. [fast]", minimum=0, maximum=9, affects=())
    overwrite: bool = option(False, "Replace existing files.", per_call=True, in_prompt_file=False, affects=())
    metadata: str = option(
        "full",
        'Metadata to embed: full record, "AI-generated" mark only (minimal), or none.',
        choices=("full", "minimal", "none"),
    )
    sign: bool | None = option(
        None,
        "Sign the file with a C2PA manifest. Needs a key: `artgen sign init`. [off]",
        flags=("--sign/--no-sign",),
        recorded=False,
        affects=(),
    )
    history: bool | None = option(
        None,
        "Enter the image in the history of this computer, see `artgen history`. [on]",
        flags=("--history/--no-history",),
        recorded=False,
        affects=(),
    )


_report_option = partial(any_option, per_call=True, in_prompt_file=False, affects=())
_display_option = partial(any_option, in_prompt_file=False, sweepable=False, recorded=False, affects=())


@dataclass(frozen=True, kw_only=True)
class ShowSettings:
    """Store whether images are shown in the terminal."""

    show: bool = _display_option(
        False,
        "Show the image in the terminal: as pixels in kitty, Ghostty, iTerm2, WezTerm and mintty, otherwise as colored "
        "blocks. Of a batch, the last image; of a sweep, the sheet.",
        brief="Show the image in the terminal.",
    )


@dataclass(frozen=True, kw_only=True)
class DisplaySettings(ShowSettings):
    """Store whether written images are shown."""

    open: bool = _display_option(
        False,
        "Open the image with the default program of the system. Of several images, the folder.",
        brief="Open the image with the system's viewer.",
    )


@dataclass(frozen=True, kw_only=True)
class ReportSettings(DisplaySettings):
    """Store the settings of the printed text."""

    json: bool = _report_option(False, "Print a JSON record per image instead of its path.", flags=("--json",))
    dry_run: bool = _report_option(
        False,
        "Print what would be generated, and generate nothing.",
        brief="Print what would be generated, and stop.",
        flags=("--dry-run",),
    )
    quiet: bool = _report_option(False, "Print only errors on stderr.", flags=("-q", "--quiet"))
    verbose: bool = _report_option(
        False, "Also print versions, files, what is loaded, and the time of each stage.", flags=("-v", "--verbose")
    )


@dataclass(frozen=True, kw_only=True)
class GenerationReportSettings(ReportSettings):
    """Store the settings of the printed text of a command that generates images in steps."""

    preview: bool = _display_option(
        False, "Show a small preview in the terminal while the image is generated. No effect on a batch."
    )
