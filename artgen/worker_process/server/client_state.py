"""Give this process the state of a client while its command runs, and remove every trace of the command afterwards.

The state consists of the streams, the arguments, the environment, the umask, the working directory, the handler of
SIGINT, and the values that `artgen.system.command_state` resets. Everything else that affects a command is equal in the
client and in the worker, see `artgen.worker_process.client.identity`.
"""

import contextlib
import io
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from artgen.system import temporary
from artgen.system.command_state import reset_command_state

EXIT_FLUSH_FAILED = 120
"""Exit code of Python if a standard stream cannot be flushed."""


@dataclass
class CommandResult:
    """Store the exit code of a command, and whether the command has ended with it."""

    exit_code: int = 0
    has_exit_code: bool = False


@contextlib.contextmanager
def client_state(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    umask: int,
    descriptors: Sequence[int],
    open_stdout: Callable[[], io.RawIOBase],
    result: CommandResult,
) -> Iterator[None]:
    """Give this process the state of a client.

    Args:
        arguments: arguments of the command line, without the name of the program.
        environment: environment variables.
        umask: umask.
        descriptors: stdin, stdout, stderr and working directory. They are closed.
        open_stdout: returns a stream that writes to stdout of the client. Descriptor 1 is the same file.
        result: result of the command. Its exit code is replaced if a standard stream cannot be flushed.

    Raises:
        Exception: the state of the client cannot be used, or the state of this process cannot be restored.
    """
    own_environment, own_argv, own_umask = dict(os.environ), sys.argv, os.umask(umask)
    own_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with _client_descriptors(descriptors), _client_streams(open_stdout(), result):
        sys.argv = ["artgen", *arguments]
        _replace_environment(environment)
        with warnings.catch_warnings():  # Python forgets the warnings that earlier commands have printed
            pass
        try:
            yield
        finally:
            _replace_environment(own_environment)
            sys.argv = own_argv
            os.umask(own_umask)
            signal.signal(signal.SIGINT, own_handler)
            temporary.remove_own()
            reset_command_state()


def _replace_environment(environment: Mapping[str, str]) -> None:
    """Change only the variables that differ: a thread of a native library may read the environment at the same time."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    time.tzset()
    tempfile.tempdir = None  # it is determined by TMPDIR


@contextlib.contextmanager
def _client_descriptors(descriptors: Sequence[int]) -> Iterator[None]:
    """Replace the descriptors 0, 1 and 2 and the working directory. The worker's own working directory is `/`."""
    own = [os.dup(number) for number in range(3)]
    try:
        try:
            for number, descriptor in enumerate(descriptors[:3]):
                os.dup2(descriptor, number)
            os.fchdir(descriptors[3])
        finally:  # a second descriptor would keep a pipe open after `discard_output`
            for descriptor in descriptors:
                os.close(descriptor)
        yield
    finally:
        os.chdir("/")
        for number, descriptor in enumerate(own):
            os.dup2(descriptor, number)
            os.close(descriptor)


@contextlib.contextmanager
def _client_streams(stdout: io.RawIOBase, result: CommandResult) -> Iterator[None]:
    """Replace the streams of `sys`. A library may keep a stream of an earlier command: it stays usable."""
    names = ("stdin", "stdout", "stderr")
    own = {name: getattr(sys, name) for name in (*names, *(f"__{name}__" for name in names))}
    files = (io.FileIO(0, "r", closefd=False), stdout, io.FileIO(2, "w", closefd=False))
    streams = [_open_stream(file, own[f"__{name}__"]) for file, name in zip(files, names, strict=True)]
    for name, stream in zip(names, streams, strict=True):
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    try:
        yield
    finally:
        for stream in streams[1:]:
            if not _flush(stream):
                result.exit_code = EXIT_FLUSH_FAILED
        for name, stream in own.items():
            setattr(sys, name, stream)


def _open_stream(file: io.RawIOBase, original: TextIO) -> TextIO:
    """Return a text stream of a descriptor, with the properties that Python gives it in a new process."""
    is_unbuffered = file.writable() and bool(getattr(original, "write_through", False))  # python -u
    file.name = original.name  # type: ignore[attr-defined]
    binary: Any = io.BufferedReader(file) if file.readable() else file if is_unbuffered else io.BufferedWriter(file)
    stream = io.TextIOWrapper(
        binary,
        encoding=original.encoding,
        errors=original.errors,
        newline="\n",
        line_buffering=not is_unbuffered and (file.fileno() == 2 or file.isatty()),
        write_through=is_unbuffered,
    )
    stream.mode = "r" if file.readable() else "w"  # type: ignore[misc]
    return stream


def _flush(stream: TextIO) -> bool:
    """Flush stdout or stderr as Python does at the end of a process. Return False if this fails."""
    try:
        if not stream.closed:
            stream.flush()
    except OSError as error:
        if stream is sys.stdout:
            text = "".join(traceback.format_exception_only(error))
            with contextlib.suppress(OSError):
                sys.stderr.write(f"Exception ignored in: {stream!r}\n{text}")
        discard_output()
        with contextlib.suppress(OSError):
            stream.flush()  # otherwise the stream writes its buffer to the next client
        return False
    return True


def discard_output() -> None:
    """Connect the descriptors 0, 1 and 2 to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
