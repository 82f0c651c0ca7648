"""artgen in a process of its own: between pipes, or on a pseudo-terminal, where it believes that a person reads."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
from typing import Any


def artgen(*words: str | bytes, **more: Any) -> subprocess.Popen[bytes]:
    """`artgen WORDS`, started."""
    return subprocess.Popen([sys.executable, "-m", "artgen", *words], **more)


class Terminal:
    """`artgen WORDS` with a person before it: what they see, and the keys they press."""

    def __init__(self, *words: str | bytes, **environment: str) -> None:
        self._leader, follower = pty.openpty()
        self.shown = b""
        self.process = artgen(
            *words,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C becomes a signal
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(follower)

    def wait_for(self, text: bytes) -> None:
        """Reads on until `text` has been shown."""
        while text not in self.shown:
            assert self._read(), f"{text!r} never came, but {self.shown!r}"

    def press(self, keys: bytes) -> None:
        os.write(self._leader, keys)

    def leave(self) -> int:
        """Reads to the end; the exit code."""
        while self._read():
            pass
        os.close(self._leader)
        return self.process.wait(timeout=300)

    def _read(self) -> bytes:
        try:
            chunk = os.read(self._leader, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            chunk = b""
        self.shown += chunk
        return chunk
