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
    "predict cell.png --backend onnx",
)
IMPORTS = ("Experiment", "Adaptation", "load_rendered", "load_cells")

# One process, in which none of them is installed, since importing torch takes seconds.
_PROGRAM = r"""
import contextlib, io, json, sys
import torch, transformers, peft  # which look for some of them
packages, commands, names = map(json.loads, sys.argv[1:])
sys.modules |= dict.fromkeys(packages)
import bc_sam
from bc_sam.cli import main
from bc_sam.errors import MissingPackageError
said = {}
for command in commands:
    sys.argv[1:] = command.split()
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        try:
            main()
        except SystemExit as end:
            said[command] = [end.code, stderr.getvalue()]
for name in names:
    try:
        getattr(bc_sam, name)
    except MissingPackageError as error:
        said[name] = [1, f"error: {error}\n"]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each entry says without any optional package: its exit status and standard error."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "cells").mkdir()
    (folder / "cells.parquet").write_bytes(b"")
    (folder / "cell.png").write_bytes(b"")
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}")
    finished = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(json.dumps, (list(EXTRAS), COMMANDS, IMPORTS))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize("entry", COMMANDS + IMPORTS)
def test_every_entry_says_what_to_install(entry, said):
    status, text = said[entry]
    assert status == 1
    (line,) = text.splitlines()
    assert line in {f"error: {name} is not installed. Run: {install_command(name)}" for name in EXTRAS}


def test_every_extra_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)


def test_other_missing_modules_are_not_taken_for_extras():
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as error, extras_explained():
        import no_such_module  # noqa: F401
    assert not isinstance(error.value, BCSamError)


def test_the_error_is_an_import_error_too():
    assert issubclass(MissingPackageError, ImportError)
