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


def test_imports_run_one_way():
    """Nothing below the model imports it, nor the command line, nor the run folder."""
    roof = (
        "bc_sam.models.bc_sam",
        "bc_sam.training.experiment",
        "bc_sam.training.adaptation",
        "bc_sam.cli",
        "bc_sam.training.run_report",
        "bc_sam.training.demo",
    )
    above = {"model.py", "experiment.py", "run_report.py", "demo.py", "__init__.py", "__main__.py"}
    above |= {
        "predictions.py",
        "model_evaluation.py",
        "conversion.py",
        "adaptation.py",
        "inspection.py",
    }  # they stand on the model
    for path in (ROOT / "bc_sam").rglob("*.py"):
        of_comparisons = path.parent.name == "comparisons" and path.name in ("model.py", "passes.py", "table.py")
        if (
            of_comparisons
            or path.parent.name in ("cli", "space")
            or (path.name in above and path.parent.name == "bc_sam")
        ):
            continue
        lines = [line.split() for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not [line[1] for line in lines if f"{line[1]}.".startswith(tuple(f"{name}." for name in roof))], path
