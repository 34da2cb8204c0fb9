"""What `bc-sam data` says of a data set."""

import re

import pytest
from PIL import Image

from bc_sam.cli.datasets import data_command
from bc_sam.cli.options import read_layout
from bc_sam.data.reading_options import Layout
from bc_sam.errors import ConfigError


def test_data_reports_the_scale_with_its_ruler(capsys):
    data_command("ours=rendered:barcelona:1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "13 images"
    scale = re.fullmatch(r"scale: (0\.\d+) µm per pixel by red cells \(\d+ of 13 images measured\)\.", lines[-1])
    assert abs(float(scale.group(1)) / (34 / 224) - 1) < 0.1


def test_data_takes_the_options_of_layouts(capsys, tmp_path):
    for number, file in enumerate(("train/p1/monocyte/1.png", "test/p2/EOS/2.png", "test/p3/EOS/3.png")):
        (tmp_path / file).parent.mkdir(parents=True)
        Image.new("RGB", (40, 40), (9 * number, 90, 90)).save(tmp_path / file)
    data_command(f"ours={tmp_path}", group_by="folder", split="test")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 images"
    assert "slides or patients: 2" in lines


def test_columns_are_given_by_role():
    assert read_layout(None, "large", "test", ["label=cell type"]) == Layout(
        None, "large", "test", {"label": "cell type"}
    )
    with pytest.raises(ConfigError, match="--column label is not ROLE=NAME"):
        read_layout(None, None, None, ["label"])


def test_data_names_identical_files_with_different_labels(capsys, tmp_path):
    for number, file in enumerate(("monocyte/1.png", "monocyte/2.png", "EOS/3.png", "EOS/4.png")):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (9 * min(number, 2), 90, 90)).save(tmp_path / file)
    data_command(f"ours={tmp_path}")
    assert "identical files" not in capsys.readouterr().out
    (tmp_path / "EOS" / "3.png").write_bytes((tmp_path / "monocyte" / "1.png").read_bytes())
    data_command(f"ours={tmp_path}")
    (warning,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("warning:"))
    assert "identical files have different labels, 1 in all" in warning
    assert "EOS/3.png (eosinophil) and monocyte/1.png (monocyte)" in warning
