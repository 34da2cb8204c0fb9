"""Code quality: style, types, doctests, import cost and import contracts."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The names of the import contracts in pyproject.toml.
LAYERS = "Rooms import only what is below them"
NO_NETWORKS = "Data, classifiers and evaluation know no torch network"
INDEPENDENT_MODELS = "A model knows no sibling"


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy", "bc_sam", "tests/typed_use.py")]
)
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


def test_progress_bars_are_quiet_where_there_is_no_terminal():
    for path in (ROOT / "bc_sam").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        bars = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "tqdm"]
        for bar in bars:
            (disable,) = (ast.unparse(keyword.value) for keyword in bar.keywords if keyword.arg == "disable")
            asked_for = "show_progress_bar" in disable  # an argument of the caller
            assert disable.endswith("None") or asked_for, f"{path}:{bar.lineno}"


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
        ("module", "forbidden", "contract"),
        [
            ("data/images.py", "from bc_sam.models.folder import load_config", LAYERS),
            ("networks/features.py", "def late():\n    from bc_sam.training.demo import demo_config", LAYERS),
            ("data/images.py", "from bc_sam.evaluation.metrics import score", LAYERS),
            ("evaluation/metrics.py", "import transformers", NO_NETWORKS),
            ("models/comparison.py", "from bc_sam.models.bc_sam import BCSam", INDEPENDENT_MODELS),
        ],
        ids=[
            "a higher package",
            "a lazy import of a higher package",
            "a sibling package",
            "a network library",
            "a sibling model",
        ],
    )
    def test_a_forbidden_import_breaks_its_contract(self, module, forbidden, contract, tmp_path):
        shutil.copytree(ROOT / "bc_sam", tmp_path / "bc_sam", ignore=shutil.ignore_patterns("embedded", "__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        with (tmp_path / "bc_sam" / module).open("a") as file:
            file.write(f"\n\n{forbidden}\n")
        broken = re.findall(r"^(.+) BROKEN$", lint_imports(tmp_path).stdout, flags=re.MULTILINE)
        assert contract in broken
