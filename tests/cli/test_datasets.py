"""What `bc-sam data` says of a data set."""

import re

import numpy as np
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


class TestCopies:
    """Contradictions of a data set are said before a training learns from them."""

    @pytest.fixture
    def folder(self, tmp_path):
        for number, file in enumerate(("monocyte/1.png", "monocyte/2.png", "EOS/3.png", "EOS/4.png")):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            blocks = np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(blocks).resize((96, 96), Image.Resampling.BICUBIC).save(tmp_path / file)
        return tmp_path

    def warnings(self, folder, capsys):
        data_command(f"ours={folder}")
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning:")]

    def test_without_any_nothing_is_said(self, folder, capsys):
        assert self.warnings(folder, capsys) == []

    def test_identical_files_with_different_labels_are_named(self, folder, capsys):
        (folder / "EOS" / "3.png").write_bytes((folder / "monocyte" / "1.png").read_bytes())
        (warning,) = self.warnings(folder, capsys)
        assert "1 pair of copies of one image has different labels" in warning
        assert "EOS/3.png (eosinophil) and monocyte/1.png (monocyte)" in warning

    def test_so_are_copies_that_were_turned_and_saved_in_another_format(self, folder, capsys):
        Image.open(folder / "monocyte" / "1.png").rotate(90).save(folder / "EOS" / "5.tif")
        (warning,) = self.warnings(folder, capsys)
        assert "EOS/5.tif (eosinophil) and monocyte/1.png (monocyte)" in warning

    def test_copies_of_one_label_contradict_nothing(self, folder, capsys):
        Image.open(folder / "monocyte" / "1.png").rotate(90).save(folder / "monocyte" / "5.tif")
        (warning,) = self.warnings(folder, capsys)
        assert warning.startswith(
            "warning: 1 pair of copies of one image: monocyte/1.png (monocyte) and monocyte/5.tif"
        )

    def test_copies_in_other_colours_are_nearly_the_same(self, folder, capsys):
        pixels = np.asarray(Image.open(folder / "monocyte" / "1.png"))
        Image.fromarray((pixels * (0.7, 0.8, 0.9)).astype(np.uint8)).save(folder / "EOS" / "5.png")
        (warning,) = self.warnings(folder, capsys)
        assert "1 pair of images is nearly the same: EOS/5.png (eosinophil) and monocyte/1.png (monocyte)" in warning

    def test_an_image_that_cannot_be_read_is_named(self, folder, capsys):
        (folder / "EOS" / "5.png").write_bytes((folder / "EOS" / "4.png").read_bytes()[:900])
        (warning,) = self.warnings(folder, capsys)
        assert "1 image cannot be read" in warning
        assert "5.png" in warning
