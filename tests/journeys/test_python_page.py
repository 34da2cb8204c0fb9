"""The examples of docs/python.md run as they are written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

from small_model import IMAGE_SIZE

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def example(heading, number=0):
    """A Python block of the section of a heading."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[number]


def test_notebooks_show_a_table_of_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=lambda data: SimpleNamespace(data=data)))
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    *_, last = example("Notebooks").splitlines()
    names = {}
    exec(example("Notebooks").replace(last, f"shown = {last}"), names)
    assert names["shown"].data.count("<img") == 3


def test_spawned_workers_load_a_model_each(cell_files, tmp_path):
    shutil.copy(cell_files[0], tmp_path / "cell.png")
    (tmp_path / "script.py").write_text(example("Worker processes").replace("WORKERS = 2", "WORKERS = 1"))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[\['\w+'\], \['\w+'\]\]", done.stdout.splitlines()[-1])


def test_models_are_trained_and_adapted_as_by_the_command_line(run_folder, small_base, tmp_path, monkeypatch, capsys):
    """The run of the page, on another base, is that of `run_folder`, which is finished: any other would be refused."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, tmp_path / "runs" / "mine")
    size = '"image_size": 96'
    assert size in example("Training")
    names = {}
    exec(example("Training").replace(size, f'"image_size": {IMAGE_SIZE}, "base": {str(small_base)!r}'), names)
    assert names["model"].config.domains == ("north", "south")
    exec(example("Training", 1), names)
    assert (tmp_path / "runs" / "ours" / "model" / "config.json").exists()
    assert "logistic" in capsys.readouterr().out
