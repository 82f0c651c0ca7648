"""Interpret the positional arguments of a command, and merge options with the same meaning."""

import contextlib
import dataclasses
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from artgen.cli import user_defaults
from artgen.cli.arguments import command_line
from artgen.cli.console import print_note
from artgen.errors import UsageError
from artgen.spec.settings import OpaqueInput, PromptSettings
from artgen.system.external_data import decode_text
from artgen.system.input_files import STDIN, is_stdin, read_stdin

MAX_PROMPT_BYTES = 1 << 20
"""Limit of a prompt that is read from stdin."""

OptionalImages = Annotated[
    list[Path] | None,
    typer.Argument(help="Images, and folders of images. - reads stdin.", metavar="[IMAGE]...", show_default=False),
]
RequiredImages = Annotated[
    list[Path], typer.Argument(help="Images, and folders of images. - reads stdin.", metavar="IMAGE...")
]
ImagesAndPrompt = Annotated[
    list[str] | None,
    typer.Argument(
        help="Images or folders of images, then the prompt. Either may be -, which reads stdin.",
        metavar="[IMAGE]... [PROMPT]",
        show_default=False,
    ),
]


def split_positionals(
    positionals: Sequence[str] | None, source: OpaqueInput, prompt: PromptSettings
) -> tuple[list[Path], PromptSettings]:
    """Split the positional arguments into input images and the prompt.

    The first argument is an image unless `--image` is set. Every other argument is an image if the file exists or if
    its suffix is an image suffix. One other argument may be the prompt. `-` is standard input.

    Raises:
        UsageError: there is more than one prompt, or several inputs are `-`.
    """
    from artgen.images import IMAGE_SUFFIXES

    images = [source.image] if source.image else []
    prompts: list[str] = [prompt.prompt] if prompt.prompt else []
    for argument in positionals or []:
        if not images or (
            argument != STDIN and (Path(argument).suffix.lower() in IMAGE_SUFFIXES or os.path.lexists(argument))
        ):
            images.append(Path(argument))
        else:
            prompts.append(argument)
    if positionals and not positionals[0] and not source.image:
        raise UsageError("Cannot use an empty text as the image.", "Check the variables of the shell.")
    if len(prompts) > 1:
        from artgen.cli.usage_errors import several_prompts_error

        raise several_prompts_error(prompts[1])
    if positionals and not source.image and _looks_like_prompt(positionals[0], others=len(images) > 1):
        from artgen.cli.usage_errors import missing_image_error

        raise missing_image_error(positionals[0], images[1:])
    check_stdin_uses(*images, *prompts)
    if prompts:
        user_defaults.add_typed("prompt")
    return images, read_prompt(dataclasses.replace(prompt, prompt=prompts[0] if prompts else ""))


def _looks_like_prompt(argument: str, *, others: bool) -> bool:
    """Return whether the argument in the place of an image is a prompt: no file, and a text or before an image."""
    from artgen.images import IMAGE_SUFFIXES

    if argument == STDIN or os.path.lexists(argument) or Path(argument).suffix.lower() in IMAGE_SUFFIXES:
        return False
    return len(argument.split()) > 1 or (others and not any(letter in argument for letter in "/\\."))


def check_stdin_uses(*inputs: Path | str | None) -> None:
    """Check that at most one input is standard input.

    Raises:
        UsageError: several inputs are `-`.
    """
    if sum(str(each) == STDIN for each in inputs) > 1:
        raise UsageError(
            "Cannot read several inputs from stdin: only one of the image, the mask and the prompt can be '-'.",
            "Save the others to files.",
        )


def reject_stdin(*inputs: Path | None) -> None:
    """Refuse standard input as an image of several results.

    Raises:
        UsageError: an input is `-`.
    """
    if any(map(is_stdin, inputs)):
        raise UsageError(
            "Cannot read an image from stdin for several results: the run could not be continued.",
            "Save the image to a file first.",
        )


def read_prompt(prompt: PromptSettings) -> PromptSettings:
    """Return the settings with the prompt from stdin if the prompt is `-`.

    Raises:
        UsageError: stdin is not UTF-8 text.
        InputFileError: stdin is closed or a terminal, too long, or sends no data.
    """
    if prompt.prompt != STDIN:
        return prompt
    try:
        text = decode_text(read_stdin(MAX_PROMPT_BYTES)).strip()
    except ValueError as error:
        raise UsageError(f"Cannot read the prompt from stdin: {error}.", "Write UTF-8 text.") from error
    if "\n" in text:
        from artgen.cli.usage_errors import several_lines_note

        context, args = command_line()
        if (note := several_lines_note(text, context, args)) and not context.params.get("quiet"):
            print_note(note)
    return dataclasses.replace(prompt, prompt=text)


def missing_mask_error(images: Sequence[Path], prompt: str) -> UsageError:
    """Return the error for `inpaint IMAGE MASK PROMPT`, where the mask is not an option."""
    from artgen.cli.usage_errors import shell_command

    image, mask = map(str, images)
    command = shell_command("artgen inpaint", [image, *([prompt] if prompt else []), "--mask", mask])
    return UsageError(
        "Cannot inpaint several images: the mask is missing.",
        f"If '{mask}' is the mask: {command or 'use --mask.'}",
    )


def missing_prompt_hint() -> str:
    """Return the hint for a command without a prompt, which differs if stdin is a file or a pipe."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stdin is closed
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
            return "To read the prompt from stdin: artgen txt2img -. To generate an image for each line: artgen batch -"
    return 'artgen txt2img "a red fox in the snow"'
