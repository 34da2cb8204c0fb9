"""OpenVINO without its telemetry."""

import sys
from importlib import import_module
from types import ModuleType

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """Imports OpenVINO, which otherwise reports its import to its makers.

    `import openvino` writes an id into the home folder and sends an event to an analytics service, without asking, if
    the package ``openvino_telemetry`` can be imported, which it depends on; ``findings/openvino_import_reports.sh``
    shows it. Where it cannot be imported, OpenVINO takes a stub of its own, so it is hidden during the import. If the
    program has imported either package before, nothing is changed.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:
        return import_module("openvino")
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
