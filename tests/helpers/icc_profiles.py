"""Build small ICC profiles (ICC.1:2001-04) whose description can contradict their data."""

import struct
from collections.abc import Callable

SRGB_PRIMARIES = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""XYZ of red, green and blue, adapted to D50."""
P3_PRIMARIES = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_PRIMARIES = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
_D50 = (0.9642, 1.0, 0.8249)


def _s15_fixed16(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + _s15_fixed16(*values)


def curve(gamma: float | str) -> bytes:
    """Return a tone curve: a gamma, or `srgb` for the curve of sRGB as a table with 1024 entries."""
    if isinstance(gamma, str):
        values = [i / 1023 for i in range(1024)]
        table = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(round(v * 65535) for v in table))
    if gamma == 1:
        return b"curv\0\0\0\0" + struct.pack(">I", 0)
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _description(text: str) -> bytes:
    data = text.encode("ascii") + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(data)) + data + bytes(4 + 4 + 2 + 1 + 67)


def _assemble(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += padded
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(4 * 7) + _s15_fixed16(*_D50)
    return header + bytes(128 - len(header)) + table + body


def rgb_profile(
    gamma: float | str, primaries: tuple[tuple[float, float, float], ...] = SRGB_PRIMARIES, name: str = "sRGB"
) -> bytes:
    """Return an RGB profile with three equal tone curves."""
    tags = {b"desc": _description(name), b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(_D50)}
    tags |= {letter + b"XYZ": _xyz(xyz) for letter, xyz in zip((b"r", b"g", b"b"), primaries, strict=True)}
    tags |= {letter + b"TRC": curve(gamma) for letter in (b"r", b"g", b"b")}
    return _assemble(b"RGB ", tags)


def gray_profile(gamma: float | str, name: str = "sRGB") -> bytes:
    """Return a gray profile."""
    tags = {b"desc": _description(name), b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(_D50), b"kTRC": curve(gamma)}
    return _assemble(b"GRAY", tags)


def _table_profile(
    space: bytes, kind: bytes, lab_of: "Callable[[tuple[int, ...]], tuple[float, float, float]]", name: str
) -> bytes:
    """Return a profile with a table to Lab of two grid points per channel, and none from Lab."""
    channels = len(space.strip())
    table = b""
    for index in range(2**channels):
        values = tuple((index >> shift) & 1 for shift in range(channels - 1, -1, -1))
        lightness, a, b = lab_of(values)
        table += struct.pack(">3H", round(lightness * 652.8), round((a + 128) * 256), round((b + 128) * 256))
    linear = struct.pack(">2H", 0, 65535)
    lut = b"mft2\0\0\0\0" + bytes([channels, 3, 2, 0]) + _s15_fixed16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += struct.pack(">2H", 2, 2) + linear * channels + table + linear * 3
    tags = {b"desc": _description(name), b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(_D50), b"A2B0": lut}
    profile = bytearray(_assemble(space, tags))
    profile[12:16], profile[20:24] = kind, b"Lab "
    return bytes(profile)


def cmyk_profile(name: str = "sRGB") -> bytes:
    """Return a CMYK profile: white paper, ideal inks."""

    def lab_of(inks: tuple[int, ...]) -> tuple[float, float, float]:
        c, m, y, k = inks
        lightness = 100 * (1 - k) * (1 - 0.3 * c - 0.3 * m - 0.1 * y)
        return lightness, (1 - k) * (60 * m - 40 * c), (1 - k) * (70 * y - 40 * c - 10 * m)

    return _table_profile(b"CMYK", b"prtr", lab_of, name)


def rgb_scanner_profile(name: str = "sRGB") -> bytes:
    """Return an RGB profile that is linear in Lab."""

    def lab_of(color: tuple[int, ...]) -> tuple[float, float, float]:
        r, g, b = color
        return 100 * (0.3 * r + 0.6 * g + 0.1 * b), 60.0 * (r - g), 60.0 * ((r + g) / 2 - b)

    return _table_profile(b"RGB ", b"scnr", lab_of, name)
