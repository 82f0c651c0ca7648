"""List the extras of artgen: packages that are not installed by default, and the command that installs them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Extra:
    """Describe an extra of the package.

    Attributes:
        name: name in `pip install 'artgen[NAME]'`.
        package: distribution that the extra installs.
        use: what the package is needed for.
    """

    name: str
    package: str
    use: str


EXTRAS = (
    Extra("c2pa", "c2pa-python", "--sign and artgen verify"),
    Extra("gguf", "gguf", "GGUF files"),
    Extra("heif", "pillow-heif", "HEIC images"),
    Extra("int8", "torchao", "--quantize int8"),
    Extra("nf4", "bitsandbytes", "--quantize nf4 on a CUDA device"),
    Extra("openvino", "openvino", "--acceleration openvino on the CPU"),
    Extra("ray", "ray", "--ray"),
    Extra("schedulers", "torchsde", "the scheduler dpm++sde"),
    Extra("serve", "uvicorn", "artgen serve"),
    Extra("tensorboard", "tensorboard", "TensorBoard logs of train"),
    Extra("video", "av", "frames as a video"),
)


def missing_extras() -> list[Extra]:
    """Return the extras whose package is not installed."""
    return [extra for extra in EXTRAS if installed_version(extra.package) is None]


def installed_version(package: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    import importlib.metadata  # 20 ms

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def install_command(packages: Sequence[str]) -> str:
    """Return the command that installs packages: as an extra of artgen, if there is one, in a tested version."""
    extras = {extra.package: extra.name for extra in EXTRAS}
    if all(package in extras for package in packages):
        return f"pip install 'artgen[{','.join(extras[package] for package in packages)}]'"
    return f"pip install {' '.join(packages)}"
