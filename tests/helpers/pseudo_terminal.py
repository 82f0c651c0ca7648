"""Run artgen in a separate process, with pipes or with a pseudo-terminal."""

import fcntl
import os
import pty
import re
import subprocess
import sys
import termios
from typing import Any


def artgen(*arguments: str | bytes, **kwargs: Any) -> subprocess.Popen[bytes]:
    """Start `artgen ARGUMENTS`."""
    return subprocess.Popen([sys.executable, "-m", "artgen", *arguments], **kwargs)


class Terminal:
    """Run `artgen ARGUMENTS` on a pseudo-terminal.

    Attributes:
        output: all bytes that were written to the terminal so far.
        process: the process of artgen.
    """

    def __init__(self, *arguments: str | bytes, size: tuple[int, int] = (24, 80), **environment: str) -> None:
        """Start artgen.

        Args:
            arguments: arguments of artgen.
            size: rows and columns of the terminal.
            environment: further environment variables.
        """
        self._leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, size)
        self.output = b""
        self.process = artgen(
            *arguments,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            # With a controlling terminal, Ctrl-C sends a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(follower)

    def wait_for(self, text: bytes) -> None:
        """Read until the terminal shows `text`."""
        while text not in self.output:
            assert self._read(), f"{text!r} is not in {self.output!r}"

    def press(self, keys: bytes) -> None:
        """Send keys to the terminal."""
        os.write(self._leader, keys)

    def wait(self) -> int:
        """Read to the end of the output. Return the exit code."""
        while self._read():
            pass
        os.close(self._leader)
        return self.process.wait(timeout=300)

    def _read(self) -> bytes:
        try:
            chunk = os.read(self._leader, 4096)
        except OSError:  # Linux raises an error if the other end is closed
            chunk = b""
        self.output += chunk
        return chunk

    def lines(self) -> list[str]:
        """Return the lines that remain on the screen, without styles. Erased text and moved cursors are respected."""
        screen = [""]
        row = column = 0
        for text, up, erase in re.findall(
            r"([^\x1b\r\n]+|[\r\n])|\x1b\[(\d*)A|\x1b\[2(K)|\x1b\[[?\d;]*[A-Za-z]", self.output.decode()
        ):
            if text == "\r":
                column = 0
            elif text == "\n":
                row += 1
                screen += [""] * (row + 1 - len(screen))
            elif text:
                line = screen[row].ljust(column)
                screen[row] = line[:column] + text + line[column + len(text) :]
                column += len(text)
            elif erase:
                screen[row] = ""
            elif up:
                row = max(0, row - int(up))
        return [line.rstrip() for line in screen if line.strip()]
