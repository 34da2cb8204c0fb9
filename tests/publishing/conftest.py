"""Runs the scripts of hub/, which is not a package."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_script(monkeypatch):
    """Runs a script of hub/ in this process with command-line arguments, optionally replacing some of its globals."""

    def run(name, *arguments, **replaced):
        spec = importlib.util.spec_from_file_location(name, ROOT / "hub" / f"{name}.py")
        monkeypatch.syspath_prepend(ROOT / "hub")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for key, value in replaced.items():
            monkeypatch.setattr(module, key, value)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        module.main()

    return run
