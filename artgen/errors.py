"""What can go wrong, in the user's words: one class per exit code.

Every error that artgen raises on purpose is an `ArtgenError`: a sentence that says what was wanted and what
came, and a hint that says what to do next. The command line prints both and leaves with the class's exit code.
"""


class ArtgenError(Exception):
    """Base of all errors artgen raises on purpose; `exit_code` 1 is kept for bugs.

    Args:
        message: one sentence, what was wanted and what came.
        hint: what to do about it, an imperative sentence or a command; empty when there is nothing to add.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # File names may hold bytes that are no text; a message can always be encoded.
        self.message = message.encode("utf-8", "backslashreplace").decode("utf-8")
        self.hint = hint.encode("utf-8", "backslashreplace").decode("utf-8")
        super().__init__(self.message)


class UsageError(ArtgenError):
    """An option, a combination of options or a record field that cannot be used as given."""

    exit_code = 2


class InputFileError(ArtgenError):
    """A file that was to be read is missing, unreadable, damaged or of the wrong kind."""

    exit_code = 3


class ModelUnavailableError(ArtgenError):
    """A model cannot be had: unknown, offline, gated, incomplete or of the wrong architecture."""

    exit_code = 4


class RefusedError(ArtgenError):
    """Refused for safety or integrity: pickles, remote code, a hash that does not match."""

    exit_code = 5


class MemoryExhaustedError(ArtgenError):
    """Out of memory after every fallback."""

    exit_code = 6


class DeviceLostError(ArtgenError):
    """A GPU answers this process no more; another process may use it."""

    exit_code = 71


class FilteredError(ArtgenError):
    """Every picture was withheld by the model's safety filter."""

    exit_code = 8


class NonFiniteError(ArtgenError):
    """The model produced NaN or infinity; nothing was written."""

    exit_code = 9


class OutputError(ArtgenError):
    """A picture was made and could not be written, or its destination was found unusable beforehand."""

    exit_code = 74
