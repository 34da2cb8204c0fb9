"""Code quality: style, types, doctests, import cost and import contracts."""

import shutil
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


def test_importing_the_package_loads_no_heavy_library():
    heavy = ["torch", "transformers", "sklearn", "datasets", "matplotlib", "numpy"]
    program = f"import sys, bc_sam; print([name for name in {heavy} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_every_public_name_can_be_imported():
    import bc_sam

    assert all(getattr(bc_sam, name) is not None for name in bc_sam.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = bc_sam.no_such_name


def lint_imports(folder):
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True
    )


class TestImportContracts:
    """Imports between packages run one way, as declared in ``pyproject.toml``."""

    def test_they_are_kept(self):
        finished = lint_imports(ROOT)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    @pytest.mark.parametrize(
        ("module", "forbidden"),
        [
            ("data/images.py", "from bc_sam.models.folder import load_config"),
            ("networks/features.py", "def late():\n    from bc_sam.training.demo import demo_config"),
            ("evaluation/metrics.py", "import transformers"),
            ("models/comparison.py", "from bc_sam.models.bc_sam import BCSam"),
        ],
        ids=["a higher package", "a lazy import of a higher package", "a network library", "a sibling"],
    )
    def test_a_forbidden_import_breaks_them(self, module, forbidden, tmp_path):
        shutil.copytree(ROOT / "bc_sam", tmp_path / "bc_sam", ignore=shutil.ignore_patterns("embedded", "__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        with (tmp_path / "bc_sam" / module).open("a") as file:
            file.write(f"\n\n{forbidden}\n")
        assert "BROKEN" in lint_imports(tmp_path).stdout
