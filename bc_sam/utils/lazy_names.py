"""Public names of a package whose modules are imported on first use."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from bc_sam.utils.extras import extras_explained


def lazy_name(package: str, modules: Mapping[str, str], name: str) -> Any:
    """Returns a public name of a package, for its ``__getattr__``.

    Args:
        package: The package.
        modules: The module of each public name, relative to the package.
        name: The name.

    Raises:
        AttributeError: If it is not a public name.
        MissingPackageError: If its module needs an optional package that is not installed.

    Example:
        >>> lazy_name("bc_sam.utils", {"rough_duration": "durations"}, "rough_duration")(7)
        '7 s'
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    with extras_explained():
        return getattr(import_module(f"{package}.{modules[name]}"), name)
