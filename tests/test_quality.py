"""The code's own rules: style, types, examples that run, and an import that costs little."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)])
def test_style_and_types(command):
    finished = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_examples_in_docstrings_run():
    options = ["--doctest-modules", "-q", "-p", "no:cacheprovider", "-n", "0", "bc_sam"]
    finished = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_import_loads_no_heavy_library():
    heavy = ["torch", "transformers", "sklearn", "datasets", "matplotlib", "numpy"]
    program = f"import sys, bc_sam; print([name for name in {heavy} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_every_public_name_can_be_had():
    import bc_sam

    assert all(getattr(bc_sam, name) is not None for name in bc_sam.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = bc_sam.no_such_name
