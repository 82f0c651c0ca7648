"""Define the settings of the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from artgen.remote.address import DEFAULT_PORT

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")

MIB = 1 << 20


@dataclass(frozen=True)
class ServerSettings:
    """Store the settings of the server.

    Attributes:
        host: address on which the server listens.
        port: TCP port; 0 selects a free port.
        token: token that every request must contain; None: no token, only for loopback addresses.
        allowed_hosts: further names that the Host header may contain, in addition to `host` and loopback names.
        allowed_origins: origins that browsers may send requests from (CORS); empty: only the server's own page.
        max_queue: maximum number of waiting jobs.
        max_per_client: maximum number of waiting and running jobs of one client address.
        max_images_per_job: maximum number of images of one job.
        max_body_bytes: maximum size of a request body.
        max_total_body_bytes: maximum size of all request bodies that are in memory at the same time.
        max_queued_bytes: maximum size of the uploads of all waiting jobs.
        max_upload_pixels: maximum width times height of an uploaded image.
        max_generated_pixels: maximum width times height of an image that a pipeline generates.
        max_result_pixels: maximum width times height of an enlarged or denoised image.
        max_results: number of finished jobs whose images are kept.
        max_result_bytes: size of the kept images of all finished jobs. The newest job is kept if it is larger.
        max_loaded: maximum number of models that stay loaded.
        allow_downloads: download models that a client names and that are not on the disk.
        header_seconds: time in which a client must send the head of a request.
        body_seconds: time in which a client must send the body of a request.
        idle_body_seconds: time in which a client must send the next bytes of a body.
        send_seconds: time in which a client must read a full send buffer.
        keep_alive_seconds: interval of the comments in a stream of events, which keep the connection open.
        filter: names of the output filters of all jobs, which a client cannot remove; empty: the filters of the
            configuration.
        defaults: default values of settings that a request does not contain, such as `model` and `device`.
        output: folder or template of file names, in which the server also saves each image; None: images are kept in
            memory only.
        verbose: log every request, not only refused requests and ended jobs.
        quiet: log only errors of the server itself.
        history: whether the live page at / shows the history of this user.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_queue: int = 64
    max_per_client: int = 16
    max_images_per_job: int = 32
    max_body_bytes: int = 64 * MIB
    max_total_body_bytes: int = 256 * MIB
    max_queued_bytes: int = 256 * MIB
    max_upload_pixels: int = 40_000_000
    max_generated_pixels: int = 5_000_000
    max_result_pixels: int = 40_000_000
    max_results: int = 256
    max_result_bytes: int = 512 * MIB
    max_loaded: int = 2
    allow_downloads: bool = False
    header_seconds: float = 15.0
    body_seconds: float = 300.0
    idle_body_seconds: float = 20.0
    send_seconds: float = 60.0
    keep_alive_seconds: float = 15.0
    filter: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    verbose: bool = False
    quiet: bool = False
    history: bool = True

    @property
    def is_loopback(self) -> bool:
        """Return whether only programs on the same machine can connect."""
        return self.host in LOOPBACK_HOSTS
