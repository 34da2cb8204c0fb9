"""What `bc-sam data` says of a data set."""

import re

from bc_sam.cli.datasets import data_command


def test_data_reports_the_scale_with_its_ruler(capsys):
    data_command("ours=rendered:barcelona:1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "13 images"
    scale = re.fullmatch(r"scale: (0\.\d+) µm per pixel by red cells \(\d+ of 13 images measured\)\.", lines[-1])
    assert abs(float(scale.group(1)) / (34 / 224) - 1) < 0.1
