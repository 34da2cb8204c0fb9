"""Runs a function of ours once another package's module has been imported, without importing it now."""

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

logger = logging.getLogger(__name__)


def after_import(module: str, function: str) -> None:
    """Calls a function after a module has been imported; at once if it has been already.

    The function's own module is imported only then. If it fails, that is logged, and the import goes on.

    Args:
        module: Name of the awaited module.
        function: The function, ``"package.module:name"``, called without arguments.

    Example:
        >>> after_import("json", "gc:collect")
    """
    if module in sys.modules:
        _call(function)
    else:
        _AWAITED.functions[module] = function


def _call(function: str) -> None:
    module, _, name = function.partition(":")
    try:
        getattr(import_module(module), name)()
    except Exception as error:  # an incompatible version may fail in any way, and must not break others' imports
        logger.warning("%s failed: %s: %s", function, type(error).__name__, error)


class _AwaitedModules(MetaPathFinder):
    """Finds modules as Python would, and has the awaited ones loaded by `_ThenCall`."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        function = self.functions.pop(fullname, None)  # first, so that the search below does not come back here
        if function is None:
            return None
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenCall(spec.loader, function)
        return spec


class _ThenCall(Loader):
    """Loads a module as another loader does, and then calls a function."""

    def __init__(self, loader: Loader, function: str) -> None:
        self.loader, self.function = loader, function

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _call(self.function)


_AWAITED = _AwaitedModules()
sys.meta_path.insert(0, _AWAITED)
