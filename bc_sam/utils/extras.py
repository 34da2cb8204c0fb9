"""Optional packages: the extra of bc_sam that installs each, and an error that says so where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from bc_sam.errors import MissingPackageError

#: The extra that installs each optional package, by the name under which Python imports it.
EXTRAS = {
    "accelerate": "train",
    "datasets": "train",
    "gradio": "space",
    "imagecodecs": "formats",
    "matplotlib": "train",
    "onnx": "export",
    "onnxmltools": "export",
    "onnxscript": "export",
    "openvino": "openvino",
    "peft": "torch",
    "pillow_heif": "formats",
    "pyarrow": "train",
    "pydicom": "formats",
    "ray": "ray",
    "skl2onnx": "export",
    "sklearn": "torch",
    "skops": "torch",
    "torch": "torch",
    "transformers": "torch",
    "xgboost": "xgboost",
}


def install_command(package: str) -> str:
    """Returns the command that installs an optional package, beside an installed bc_sam.

    Args:
        package: One of `EXTRAS`.

    Example:
        >>> install_command("datasets")
        'pip install "bc_sam[train]"'
    """
    return f'pip install "bc_sam[{EXTRAS[package]}]"'  # double quotes also work on Windows


@contextmanager
def extras_explained() -> Iterator[None]:
    """Turns the failed import of an optional package into one sentence with the command that installs it.

    It is also a decorator of functions that import such packages.

    Raises:
        MissingPackageError: If the block imports an optional package that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingPackageError(f"{package} is not installed. Run: {install_command(package)}") from error
