"""What exporting a model needs."""

from bc_sam.utils.extras import extras_explained


def require_exporters() -> None:
    """Checks that the packages of the extra ``export`` are installed, before a model is loaded.

    Raises:
        MissingPackageError: If one is not.
    """
    with extras_explained():
        import onnx  # noqa: F401
        import onnxmltools  # noqa: F401
        import onnxruntime  # noqa: F401  # which optimizes the graph
        import onnxscript  # noqa: F401  # which torch's exporter needs
        import skl2onnx  # noqa: F401
