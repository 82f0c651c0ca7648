"""Define the errors that artgen raises: one class for each exit code.

Each expected error is an `ArtgenError` with a message (what failed and why) and a hint (what to do). The command line
prints both and exits with the exit code of the class.
"""

MAX_MESSAGE_CHARS = 2000
"""Limit of a message. The middle of a longer message, which contains a large value, is left out."""


class ArtgenError(Exception):
    """Represent an expected error; the base class of all of them. Exit code 1 is reserved for bugs.

    Args:
        message: what failed and why, as one sentence.
        hint: an instruction or a command; may be empty.
        settings: names of settings that do not fit the method, the model, the device or each other. The command line
            ignores the first of them that comes from the environment or a configuration file, with a note.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", *, settings: tuple[str, ...] = ()) -> None:
        # File names may contain bytes that are not text; the message must be encodable.
        self.message = shorten(message.encode("utf-8", "backslashreplace").decode("utf-8"))
        self.hint = shorten(hint.encode("utf-8", "backslashreplace").decode("utf-8"))
        self.settings = settings
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the message, and the hint in a second line."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


def shorten(text: str) -> str:
    """Return a message without the middle if it is longer than `MAX_MESSAGE_CHARS`."""
    half = MAX_MESSAGE_CHARS // 2
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:half]}...{text[-half:]}"


class UsageError(ArtgenError):
    """Report an invalid option, combination of options or record field."""

    exit_code = 2


class InputFileError(ArtgenError):
    """Report an input file that is missing, unreadable, damaged or of the wrong type."""

    exit_code = 3


class ModelUnavailableError(ArtgenError):
    """Report a model that is unknown, offline, gated, incomplete or of the wrong architecture."""

    exit_code = 4


class PipelineError(ModelUnavailableError):
    """Report an exception of another library while a pipeline generates an image."""


class RefusedError(ArtgenError):
    """Report a refusal for safety or integrity: pickles, remote code or a hash mismatch."""

    exit_code = 5


class MemoryExhaustedError(ArtgenError):
    """Report that memory ran out after every fallback."""

    exit_code = 6


class DeviceLostError(ArtgenError):
    """Report that this process lost its GPU. Another process may be able to use the GPU."""

    exit_code = 71


class SomeFailedError(ArtgenError):
    """Report that some of several images failed.

    Attributes:
        outcomes: a `GeneratedImage` or a `FailedImage` for each image, in order.
    """

    exit_code = 7

    def __init__(self, message: str, hint: str = "", *, outcomes: tuple[object, ...] = ()) -> None:
        super().__init__(message, hint)
        self.outcomes = outcomes


class FilteredError(ArtgenError):
    """Report that an output filter or the safety checker of the model refused an image."""

    exit_code = 8


class NonFiniteError(ArtgenError):
    """Report that the model produced NaN or infinity. No file was written."""

    exit_code = 9


class OutputError(ArtgenError):
    """Report that an output file could not be written, or that its destination is invalid."""

    exit_code = 74


class WrongSizeError(ArtgenError):
    """Report a bug: an image has another size than its job. No file was written."""

    exit_code = 1
