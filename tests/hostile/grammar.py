"""Combine hostile values at random: numbers, texts, JSON, file names, special files and images.

Each method of `Grammar` is a production: it selects one of its alternatives, and these use other productions.
"""

import json
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hostile.sandbox import SECRET

T = TypeVar("T")

ESCAPES = ("\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\r", "\x08\x08", "\u202e", "\u2066", "\x7f", "\nseed: 5\n")
FRAGMENTS = (
    "x",
    "\0",
    " ",
    "a: [, ",
    "(((",
    "\n",
    "Steps: 20, ",
    "Seed: 1, ",
    "<lora:a:1>",
    "{",
    "\\",
    '"',
    "é",
    "\t",
    ": ",
)
MAX_JSON_CHARS = 4 << 20
"""Limit of a list that is repeated; repetitions of repetitions would need all memory."""
OPENINGS = (("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]"))


class Raw(str):
    """JSON text that `dumps` does not quote."""


def dumps(value: Any) -> str:
    """Return JSON; `Raw` texts are inserted unchanged."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return json.dumps(value)


def repeat(items: list[Any], count: int) -> list[Any]:
    """Repeat a list, to at most `MAX_JSON_CHARS` characters of JSON."""
    return items * max(1, min(count, MAX_JSON_CHARS // len(dumps(items))))


class Grammar:
    """Produce hostile values from a seed. `work` is the current folder of the command."""

    def __init__(self, seed: str, root: Path) -> None:
        self.random = random.Random(seed)
        self.root = root
        self.work = root / "work"

    def pick(self, alternatives: Sequence[T]) -> T:
        """Return one of some values."""
        return alternatives[self.random.randrange(len(alternatives))]

    def one_of(self, *productions: Callable[[], T]) -> T:
        """Return the value of one of some productions."""
        return self.pick(productions)()

    def chance(self, probability: float = 0.5) -> bool:
        """Return True with a probability."""
        return self.random.random() < probability

    def number(self) -> str:
        """Return a text in the place of a number."""
        sign = self.pick(("", "", "", "-", "+", "--"))
        digits = self.pick("0179") * self.pick((1, 2, 8, 20, 60, 400, 5000))
        others = (
            "nan",
            "inf",
            "Infinity",
            "0x1F",
            "1_000",
            "\u0663",
            "½",
            "",
            " ",
            "1,5",
            "0..5",
            "1e",
            "none",
            "1\n2",
        )
        exponent = f"{self.pick('19')}e{self.pick(('3', '400', '999999999', '-400', '-999999999'))}"
        body = self.pick((digits, digits, f"0.{digits}", exponent, self.pick(others)))
        suffix = self.pick(("", "", "", "", "%", "GB", "/3", f":{digits}", f"-{digits}", f",{digits}", f"x{digits}"))
        return sign + body + suffix

    def json_number(self) -> Raw:
        """Return a JSON number out of every limit, or a constant that is not JSON."""
        digits = self.pick("179") * self.pick((5, 9, 20, 400, 5000))
        return Raw(self.pick((digits, f"-{digits}", "1e999", "-1e999", "1e-999", "NaN", "Infinity", "0", "-1", "0.5")))

    def text(self, max_chars: int = 2**20) -> str:
        """Return a text that is long, repetitive or unsafe for a terminal."""
        parts = []
        for _ in range(self.random.randint(1, 3)):
            fragment = self.pick((*FRAGMENTS, *ESCAPES))
            parts.append(fragment * self.pick((1, 1, 3, 40_000 // len(fragment), max_chars // len(fragment))))
        return "".join(parts)[:max_chars]

    def repeated(self, size: int) -> str:
        """Return a text of `size` characters that makes a backtracking parser slow."""
        unit = self.pick((" ", "\n", "\t", "a: [, ", "a: 1, ", "(", '"', "<lora:"))
        return self.pick(("x", "a: ", '"', "")) + unit * (size // len(unit))

    def url(self) -> str:
        """Return a damaged or unusual URL of this machine or of an unknown host, possibly with a secret."""
        scheme = self.pick(("http", "https", "socks5", "socks5h", "ftp", "file", "", "HTTP", "://", "javascript"))
        user = self.pick(("", "", f"me:{SECRET}@", f"{SECRET}@", "a:b:c@", "%zz@"))
        host = self.pick(("127.0.0.1", "localhost", "[::1]", "[", "a" * 300, "hub.invalid", "", "é.invalid", "x y"))
        port = self.pick(("", ":9", ":0", ":99999", ":x", ":-1", ":" + "9" * 5000))
        path = self.pick(("", "/", "/a/../..", "?x=1", "#", "/\x7f", "/\n", "/" + "a" * 9000))
        return f"{scheme}://{user}{host}{port}{path}"

    def nested(self) -> Raw:
        """Return deeply nested JSON, possibly not closed."""
        opening, closing = self.pick(OPENINGS)
        depth = self.pick((70, 1_000, 100_000))
        return Raw(opening * depth + self.pick(("1", "null", '"a"')) + closing * (depth if self.chance(0.8) else 0))

    def json_value(self, depth: int = 2) -> Any:
        """Return a JSON value of another type or size than expected."""
        simple: tuple[Callable[[], Any], ...] = (
            self.json_number,
            self.json_number,
            lambda: self.pick((None, True, False, "", "x", [], {}, [None], "../../x", "\ud800", "1e999")),
            lambda: self.text(self.pick((20, 20, 100_000))),
        )
        if depth == 0:
            return self.one_of(*simple)
        deep: tuple[Callable[[], Any], ...] = (
            self.nested,
            self.nested,
            self.nested,
            lambda: repeat([self.json_value(depth - 1)], self.pick((1, 3, 20_000 if depth == 1 else 1))),
            lambda: {self.pick(("a", "", "_class_name", "task")): self.json_value(depth - 1)},
        )
        return self.one_of(*simple, *deep)

    def mutated_json(self, value: Any) -> str:
        """Return JSON text with one to three changes of a valid value."""
        for _ in range(self.random.randint(1, 3)):
            value = self._mutate(value)
        text = dumps(value)
        return self.pick((text, text, text, text, text + self.pick(("}", "x", "\0", text)), text[: len(text) // 2]))

    def _mutate(self, value: Any) -> Any:
        if isinstance(value, dict) and value and self.chance(0.9):
            key = self.pick(list(value))
            if isinstance(value[key], dict | list) and self.chance(0.6):
                return {**value, key: self._mutate(value[key])}
            return self.one_of(
                lambda: {**value, key: self.json_value()},
                lambda: {**value, key: self.json_value()},
                lambda: {name: item for name, item in value.items() if name != key},
                lambda: {**value, self.pick(("a", "", f"{key}2", self.text(200))): self.json_value()},
                lambda: Raw(f"{dumps(value)[:-1]}, {json.dumps(key)}: {dumps(self.json_value())}}}"),
            )
        if isinstance(value, list) and value and self.chance(0.8):
            return self.one_of(
                lambda: [self._mutate(value[0]), *value[1:]],
                lambda: [*value, self.json_value()],
                lambda: repeat(value, self.pick((2, 1000))),
            )
        return self.json_value()

    def encoded(self, text: str) -> bytes:
        """Return a text in UTF-8, or damaged, or in another encoding."""
        data = text.encode("utf-8", "surrogatepass")
        other = self.pick(("utf-16", "utf-32", "cp1252", "utf-16-le"))
        middle = len(data) // 2
        return self.pick(
            (data, data, data, b"\xef\xbb\xbf" + data, text.encode(other, "replace"), data.replace(b"\n", b"\r"),
             data.replace(b"\n", b"\r\n"), data[:middle] + self.pick((b"\xff", b"\0", b"\x85", b"\xed\xa0\x80"))
             + data[middle:], data + b"\0" * 4096)
        )  # fmt: skip

    def name(self) -> str:
        """Return a file name that is too long, unsafe or special."""
        long = self.pick(("a", "é", "画", "a b", ".")) * self.pick((128, 252, 256, 1000, 5000))
        odd = ("~nobody9/x", "-", "--", "...", " ", "con", "{prompt}", "{seed:>9999999}", "{x.__class__}", "a\udcff",
               "../" * 60 + "x", "./" * 3000 + "x", "a//b", "", "/dev/null/x", "/proc/self/mem", "*")  # fmt: skip
        unsafe = "a" + self.pick(ESCAPES) + "b"
        suffix = self.pick(("", "", ".png", ".PNG.", ".jsonl", ".safetensors", "/", "@v1", ":1e999", ".tar.gz"))
        return self.pick((long, long, unsafe, self.pick(odd), f"{'d/' * self.pick((200, 3000))}{unsafe}")) + suffix

    def special_file(self, path: Path) -> Path:
        """Create something else than a regular file with content. Return its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return path
        self.one_of(
            lambda: os.mkfifo(path),
            lambda: os.mkfifo(path),
            lambda: os.mkfifo(path),
            lambda: path.mkdir(),
            lambda: path.write_bytes(b""),
            lambda: path.symlink_to(path.name),
            lambda: path.symlink_to(self.pick(("missing", "/dev/zero", "/dev/random", "/dev/full", "/proc/self/mem"))),
            lambda: path.symlink_to(self.pick(("/dev/stdin", "/dev/tty", "/dev/fd/9", ".", "/dev/null"))),
            lambda: _make_socket(path),
            lambda: path.write_bytes(b"\n" * self.pick((10, 10**6))),
            lambda: path.write_bytes(self.random.randbytes(self.pick((1, 100, 10**6)))),
            lambda: _make_sparse(path, self.pick((2**31, 2**40))),
        )
        return path

    def header_image(self, path: Path) -> Path:
        """Write an image whose header contains sizes that the data does not have. Return its path without suffix."""
        side = self.pick((0, 1, 30_000, 65_535, 80_000_000, 2**31 - 1, 2**32 - 1))
        width, height = self.pick(((1, side), (side, 1), (side, side), (1, 80_000_000), (64, 64)))
        suffix, data = self.one_of(
            lambda: (".png", png(width, height, self)),
            lambda: (".bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 90, 0, 54, 40, width % 2**31, height % 2**31, 1, 24,
                                                 0, 0, 0, 0, 0, 0) + bytes(60)),
            lambda: (".gif", b"GIF89a" + struct.pack("<HHBBB", width % 2**16, height % 2**16, 0x80, 0, 0) + bytes(6)
                     + (b",\0\0\0\0" + struct.pack("<HHB", width % 2**16, height % 2**16, 0) + b"\x02\x02\x4c\x01\0")
                     * self.pick((1, 3000)) + b";"),
            lambda: (".tif", tiff(width, height, self.pick((1, 3, 100_000)))),
            lambda: (".jpg", b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", height % 2**16, width % 2**16)
                     + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9"),
            lambda: (".webp", b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
                     + struct.pack("<I", width % 2**24)[:3] + struct.pack("<I", height % 2**24)[:3]),
        )  # fmt: skip
        path = path.with_suffix(suffix)
        path.write_bytes(data if self.chance(0.8) else data[: self.random.randrange(len(data))])
        return path


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, g: Grammar, extra: bytes = b"") -> bytes:
    """Return a PNG image with these sizes and a compressed stream of zeros of up to 30 MB."""
    depth, color = g.pick(((8, 2), (8, 2), (8, 6), (8, 0), (16, 2), (1, 0), (16, 0), (8, 3), (3, 9)))
    row_bytes = width * 8
    compressor = zlib.compressobj(9)
    pixels = b"".join(compressor.compress(bytes(10**6)) for _ in range(min(30, row_bytes * height // 10**6)))
    data = pixels + compressor.compress(bytes(min(row_bytes * height, 10**6))) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, g.pick((0, 0, 0, 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(width: int, height: int, frames: int) -> bytes:
    """Return a TIFF image with `frames` small frames; the first has the given sizes."""
    parts, offset = [b"II*\0" + struct.pack("<I", 8)], 8
    for index in range(frames):
        sizes = (width, height) if index == 0 else (1, 1)
        tags = ((256, 4, 1, sizes[0]), (257, 4, 1, sizes[1]), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
                (273, 4, 1, 8), (278, 4, 1, sizes[1]), (279, 4, 1, 1))  # fmt: skip
        offset += 2 + 12 * len(tags) + 4
        entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        parts.append(struct.pack("<H", len(tags)) + entries + struct.pack("<I", offset if index + 1 < frames else 0))
    return b"".join(parts)


def safetensors(header: str | bytes, length: int | None = None, data: bytes = bytes(64)) -> bytes:
    """Return a safetensors file with this header text; `length` replaces its length."""
    text = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _make_socket(path: Path) -> None:
    folder = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is limited to 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name[:100])
    os.chdir(folder)


def _make_sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)
