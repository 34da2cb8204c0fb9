"""What the README shows must work as it stands there."""

import re
from pathlib import Path

from huggingface_hub import ModelCard

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_example_in_code_runs(hub, repo_id, run_folder, cell_files, tmp_path, monkeypatch, capsys):
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert '"demo/run"' in block
    monkeypatch.chdir(tmp_path)
    program = block.replace("demo/run", str(run_folder)).replace("OWNER/my-model", repo_id)
    program = re.sub(r'"demo/new_cells/[^"]*"', repr(str(cell_files[0])), program)
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out.split()[1] == "None"  # the label, and no error
    assert (tmp_path / "my-model" / "config.json").exists()
    assert ModelCard.load(repo_id).data.library_name == "bc_sam"


def test_every_command_that_is_named_exists(run_bc_sam, capsys):
    commands = set(re.findall(r"^bc-sam (\w+)", README, re.MULTILINE))
    assert {"train", "evaluate", "predict", "convert"} <= commands
    for command in commands:
        assert run_bc_sam(command, "--help") == 0
        assert "Usage" in capsys.readouterr().out
