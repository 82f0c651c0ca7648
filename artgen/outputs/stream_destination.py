"""Write an image to standard output (`-o -`), to a descriptor (`/dev/fd/3`) or to a device (`/dev/null`)."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from artgen.errors import UsageError
from artgen.metadata import needs_sidecar
from artgen.outputs.destination import Destination
from artgen.outputs.encoding import encode_image
from artgen.outputs.streams import STDOUT, write_stream
from artgen.spec.base_requests import Request


@dataclass(frozen=True)
class StreamDestination(Destination):
    """Represent standard output, an open descriptor or a device.

    Attributes:
        stream: `-` for standard output, or the path.
    """

    stream: str = STDOUT

    @property
    def is_stdout(self) -> bool:
        return self.stream == STDOUT

    def preview(
        self,
        record: Mapping[str, object],  # noqa: ARG002
        *,
        stem: str | None = None,  # noqa: ARG002
        index: int | None = None,  # noqa: ARG002
    ) -> Path:
        return Path(self.stream)

    def check_name(
        self,
        record: Mapping[str, object],
        *,
        stem: str | None = None,  # noqa: ARG002
        with_sidecar: bool = False,
        owned_paths: Container[Path] = (),  # noqa: ARG002
    ) -> None:
        if with_sidecar or needs_sidecar(record, self.encoding.format, self.encoding.metadata):
            raise UsageError(
                f"The record is too long for a {self.encoding.format} file, and '{self.stream}' has no sidecar.",
                "Use --format png, or write to a file.",
            )

    def save(
        self,
        image: Image.Image,
        record: Mapping[str, object],
        *,
        stem: str | None = None,  # noqa: ARG002
        index: int | None = None,  # noqa: ARG002
        on_name_chosen: Callable[[Path, bytes], None] | None = None,  # noqa: ARG002
        low_bytes: Image.Image | None = None,
        seconds: float | None = None,  # noqa: ARG002
        request: Request | None = None,
    ) -> Path:
        """Write an image with its record, and return the path of the stream. A stream has no entry in the history.

        Raises:
            OutputError: The stream cannot be written. A pipe that its reader has closed is not an error.
        """
        data, _ = encode_image(image, record, self.encoding, low_bytes, request)
        write_stream(self.stream, data)
        return Path(self.stream)
