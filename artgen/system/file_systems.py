"""Detect network file systems."""

from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")

_LOCAL_TYPES = {
    *("apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfs", "hfsplus", "jfs"),
    *("nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "tmpfs", "vfat", "xfs", "zfs"),
}
"""Names of local file systems in Linux."""


def is_local_file_system(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Return whether an existing folder is on a local file system.

    Return False for network file systems, unknown types, and on systems without `/proc/self/mountinfo`, such as macOS.

    Args:
        folder: existing folder.
        mounts: table of the mounted file systems, in the format of proc_pid_mountinfo(5).
    """
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
        real = folder.resolve()
    except OSError:
        return False
    best, kind = -1, ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) < 5 or not rest:
            continue
        point = Path(_unescape(parts[4]))
        if len(point.parts) >= best and real.is_relative_to(point):  # of equal mount points, the last one is visible
            best, kind = len(point.parts), rest.split(" ")[0]
    return kind in _LOCAL_TYPES


def _unescape(text: str) -> str:
    """Replace the octal escapes of a mount point, such as `\\040` for a space."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
