"""The recipes for Dask and Spark run as docs/scale.md prints them, which takes a minute: ``make test-ray``."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[4] / "docs" / "scale.md"

pytestmark = pytest.mark.skipif("BC_SAM_SLOW_TESTS" not in os.environ, reason="BC_SAM_SLOW_TESTS is not set")


def recipe(package):
    """The only block of Python in the docs that imports a package."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if package in block)
    return code


def run(code, folder):
    """Runs code in a process of its own, in a folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def folder(cells, tmp_path):
    """A folder with the cells of a laboratory in ``cells/``: six images, and a file that is none."""
    (tmp_path / "cells").mkdir()
    for path in cells.glob("*.png"):
        if path.is_file():
            shutil.copy(path, tmp_path / "cells")
    return tmp_path


def test_dask(folder):
    pytest.importorskip("dask")
    paths = 'import json, pathlib\npaths = sorted(map(str, pathlib.Path("cells").iterdir()))\n'
    show = (
        'widths = [0 if row["embedding"] is None else len(row["embedding"]) for row in rows]\n'
        'print(json.dumps([[row["path"], row["name"], row["error"], width] for row, width in zip(rows, widths)]))'
    )
    rows = json.loads(run(paths + recipe("dask.bag") + show, folder).splitlines()[-1])
    assert [path for path, *_ in rows] == sorted(f"cells/{path.name}" for path in (folder / "cells").iterdir())
    for path, name, error, width in rows:
        is_image = path != "cells/bad.png"
        assert (bool(name), error is None, width) == (is_image, is_image, 50 if is_image else 0)


@pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java")
def test_spark(folder):
    pytest.importorskip("pyspark")
    pq = pytest.importorskip("pyarrow.parquet")
    session = (
        "import pathlib\nfrom pyspark.sql import SparkSession\n"
        'spark = SparkSession.builder.master("local[2]").getOrCreate()\n'
        'images = [path.read_bytes() for path in pathlib.Path("cells").iterdir()]\n'
    )
    run(session + recipe("pyspark"), folder)
    rows = pq.read_table(folder / "results").to_pylist()
    assert {Path(row["path"]).name for row in rows} == {path.name for path in (folder / "cells").iterdir()}
    for row in rows:
        is_image = Path(row["path"]).name != "bad.png"
        assert (bool(row["name"]), row["error"] is None, len(row["embedding"])) == (is_image, is_image, 50)
