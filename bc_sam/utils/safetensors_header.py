"""Facts in the header of a safetensors file, read without any tensor."""

from pathlib import Path

from safetensors import safe_open


def holds_half(path: Path) -> bool:
    """Whether a safetensors file holds a float16 tensor."""
    with safe_open(path, "numpy") as file:
        return any(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118
