"""The environment that ``make`` sets up."""

import subprocess
import sys


def test_the_package_is_found_beside_a_clone_of_the_same_name(tmp_path):
    (tmp_path / "bc_sam" / "docs").mkdir(parents=True)
    code = "import bc_sam; print(bc_sam.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("__init__.py")
