"""OpenVINO is imported without its telemetry."""

import subprocess
import sys

import pytest

OPENVINO = """
try:
    import openvino_telemetry
    reports = True
except ImportError:
    reports = False
"""


@pytest.fixture
def run(tmp_path):
    """Runs code where packages of these names can be imported, and returns what it prints."""
    (tmp_path / "openvino.py").write_text(OPENVINO)
    (tmp_path / "openvino_telemetry.py").write_text("")

    def run(code):
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    return run


IMPORT = "from bc_sam.utils.openvino_runtime import import_openvino\nprint(import_openvino().reports)\n"


def test_it_reports_when_imported_as_usual(run):
    assert run("import openvino; print(openvino.reports)") == ["True"]


def test_it_does_not_find_its_telemetry_which_others_still_do(run):
    assert run(f"{IMPORT}import openvino_telemetry; print(openvino_telemetry.__name__)") == [
        "False",
        "openvino_telemetry",
    ]


@pytest.mark.parametrize("package", ["openvino", "openvino_telemetry"])
def test_what_the_program_has_imported_before_stays(run, package):
    assert run(f"import {package}\n{IMPORT}") == ["True"]
