"""A function is called once another module has been imported, and not before."""

import subprocess
import sys
from importlib import import_module

import pytest

from bc_sam.utils.after_import import after_import

CALLED = []


def note():
    CALLED.append("called")


def fail():
    raise RuntimeError("incompatible")


@pytest.fixture
def awaited(tmp_path, monkeypatch):
    """Name of a module that has not been imported yet."""
    name = f"awaited_{len(list(sys.modules))}"
    (tmp_path / f"{name}.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    CALLED.clear()
    yield name
    sys.modules.pop(name, None)


def test_it_is_called_after_the_import(awaited):
    after_import(awaited, f"{__name__}:note")
    assert not CALLED
    module = import_module(awaited)
    assert (CALLED, module.value) == (["called"], 7)
    assert module.__loader__ is module.__spec__.loader
    assert type(module.__loader__).__module__ == "_frozen_importlib_external"


def test_it_is_called_at_once_if_the_module_is_there(awaited):
    import_module(awaited)
    after_import(awaited, f"{__name__}:note")
    assert CALLED == ["called"]


def test_its_failure_is_logged_and_does_not_break_the_import(awaited, caplog):
    after_import(awaited, f"{__name__}:fail")
    assert import_module(awaited).value == 7
    assert "RuntimeError: incompatible" in caplog.text


def test_importing_bc_sam_imports_neither_torch_nor_transformers():
    code = "import sys, bc_sam; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
