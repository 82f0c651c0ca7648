"""Check that the optional package c2pa-python is installed."""

from artgen.errors import UsageError
from artgen.system.optional_packages import install_command, installed_version

PACKAGE = "c2pa-python"


def require_package(use: str = "Signing images") -> None:
    """Check that c2pa-python is installed.

    Args:
        use: what needs the package, for the message.

    Raises:
        UsageError: the package is not installed. The hint is the command that installs it.
    """
    if installed_version(PACKAGE) is None:
        raise UsageError(f"{use} needs the package {PACKAGE}, which is not installed.", install_command([PACKAGE]))
