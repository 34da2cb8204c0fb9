"""A missing optional package is one sentence with the command that installs it, never a traceback."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bc_sam.errors import BCSamError, MissingPackageError
from bc_sam.utils.extras import EXTRAS, extras_explained, install_command

ROOT = Path(__file__).parents[2]

#: Entries that need an optional package: command lines, and imports from Python.
COMMANDS = (
    "train --out run",
    "adapt bc-sam-tiny --data ours=cells --out run",
    "resume run",
    "evaluate run",
    "evaluate bc-sam-tiny --data ours=cells",
    "compare --out table",
    "demo --out demo",
    "data ours=cells",
    "predict cells.parquet",
    "serve",
    "export bc-sam-tiny --out copy",
    "predict cell.png --backend torch",
    "save bc-sam-tiny copy",
    "fit bc-sam-tiny --data ours=cells --out fitted",
    "bench",
)
IMPORTS = ("Experiment", "Adaptation", "load_rendered", "load_cells")


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each entry says without any optional package: its exit status and standard error."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "cells").mkdir()
    (folder / "cells.parquet").write_bytes(b"")
    (folder / "cell.png").write_bytes(b"")
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}")
    code = {f"from bc_sam import {name}": name for name in IMPORTS}
    finished = subprocess.run(  # one process, as each takes a second to start
        [sys.executable, ROOT / "tests" / "slim.py"],
        input=json.dumps({"missing": list(EXTRAS), "commands": COMMANDS, "code": list(code)}),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    by_commands = {command: (status, stderr) for command, (status, _, stderr) in result["commands"].items()}
    return by_commands | {code[line]: (1, f"error: {message}") for line, (_, message) in result["errors"].items()}


@pytest.mark.parametrize("entry", COMMANDS + IMPORTS)
def test_every_entry_says_what_to_install(entry, said):
    status, text = said[entry]
    assert status == 1
    (line,) = text.splitlines()
    assert line.startswith("error: ")
    assert any(f"{name} is" in line and line.endswith(f"Run: {install_command(name)}") for name in EXTRAS)


def test_every_extra_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)


def test_other_missing_modules_are_not_taken_for_extras():
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as error, extras_explained():
        import no_such_module  # noqa: F401
    assert not isinstance(error.value, BCSamError)


def test_the_error_is_an_import_error_too():
    assert issubclass(MissingPackageError, ImportError)
