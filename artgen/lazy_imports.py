"""Import the modules of a package when their names are first used."""

import importlib
from collections.abc import Callable, Mapping, Sequence


def lazy_names(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Return the function `__getattr__` of a package.

    Args:
        package: name of the package.
        names: public names of each module of the package.
    """
    modules = {name: module for module, names_of_module in names.items() for name in names_of_module}

    def get_attribute(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get_attribute
