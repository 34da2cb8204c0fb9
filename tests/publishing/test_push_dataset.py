"""A published data set has its licence and a leak-free split, and `datasets` can load it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, HfApi
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import load_cells, load_matek19
from bc_sam.data.datasets.matek import MATEK19_CODES
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.errors import DataError

CODES = {label: code for code, label in MATEK19_CODES.items() if label and code != "MOB"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Rendered cells in the layout of Matek-19, with a rotated copy of each, a damaged file and an unmapped class."""
    folder = tmp_path_factory.mktemp("archive")
    write_rendered(folder / "cells", ("munich",), cells_per_class=6, size=64)
    root = folder / "AML-Cytomorphology"
    for file in sorted((folder / "cells" / "munich").rglob("*.png")):
        code = CODES[file.parent.name]
        (root / code).mkdir(parents=True, exist_ok=True)
        number = file.stem.split("_")[-1]
        image = Image.open(file)
        image.save(root / code / f"{code}_{number}.tiff")
        image.rotate(90).save(root / code / f"{code}_1{number}.tiff")
    (root / "PMB").mkdir()
    (root / "BAS" / "BAS_9999.tiff").write_bytes(b"II*\0broken")
    image.save(root / "PMB" / "PMB_0001.tiff")
    return root


@pytest.fixture
def pushed(hub, repo_id, run_script, archive):
    run_script("push_dataset", "matek19", archive, repo_id)
    return repo_id


def test_datasets_loads_it_in_full_and_streaming(pushed):
    splits = load_dataset(pushed)
    assert splits["train"].features["label"].names == list(LABELS)
    assert sum(splits.num_rows.values()) == 156
    assert 0.15 < splits.num_rows["test"] / 156 < 0.25
    first = next(iter(load_dataset(pushed, split="test", streaming=True)))
    assert first["image"].size == (64, 64)
    assert first["mask"] is None


def test_bc_sam_loads_the_same_cells_as_from_the_archive(pushed, archive):
    whole = load_matek19(archive, domain="x")
    readable = [row for row, file in enumerate(whole["file"]) if "9999" not in file]
    ours = {cell["file"]: cell for cell in whole.select(readable)}
    theirs = {cell["file"]: cell for cell in load_cells(f"x={pushed}")}
    assert theirs.keys() == ours.keys()
    for name in list(ours)[::17]:
        assert theirs[name]["label"] == ours[name]["label"]
        np.testing.assert_array_equal(np.asarray(theirs[name]["image"]), np.asarray(ours[name]["image"]))


def test_duplicates_share_a_split_and_every_class_is_in_both(pushed):
    splits = load_dataset(pushed)
    splits_of = {}
    for split, cells in splits.items():
        for file in cells["file"]:
            code, number = re.fullmatch(r"(\w+)/\w+_1?(\d{4})\.tiff", file).groups()
            splits_of.setdefault((code, number), set()).add(split)
        assert set(cells["label"]) == set(range(13))
    assert all(len(names) == 1 for names in splits_of.values())


def test_the_card_has_citation_licence_classes_and_omissions_but_no_local_path(pushed, archive):
    card = DatasetCard.load(pushed)
    assert card.data.license == "cc-by-3.0"
    for text in ("CC BY 3.0", "@misc{matek2019aml", "BAS_9999", "PMB 1", f'load_dataset("{pushed}")'):
        assert text in card.text
    assert str(archive) not in card.text
    assert card.data.size_categories == ["n<1K"]
    assert "| monocyte | MON, MOB |" in card.text
    counted = re.search(r"\| all \| \| (\d+) \| (\d+) \|", card.text)
    assert sum(map(int, counted.groups())) == 156


def test_a_second_push_replaces_the_files(pushed, run_script, archive):
    HfApi().upload_file(path_or_fileobj=b"old", path_in_repo="data/old.parquet", repo_id=pushed, repo_type="dataset")
    run_script("push_dataset", "matek19", archive, pushed)
    assert "data/old.parquet" not in HfApi().list_repo_files(pushed, repo_type="dataset")


def test_a_dry_run_only_writes_a_folder(hub, run_script, archive, tmp_path):
    run_script("push_dataset", "matek19", archive, "alice/none", "--dry-run", tmp_path / "out")
    assert hub.log() == []
    assert (tmp_path / "out" / "README.md").exists()
    with pytest.raises(DataError, match="not empty"):
        run_script("push_dataset", "matek19", archive, "alice/none", "--dry-run", tmp_path / "out")


def test_acevedo20_has_its_own_card(run_script, tmp_path):
    write_rendered(tmp_path / "cells", ("barcelona",), cells_per_class=6, size=64, labels=("basophil", "monocyte"))
    root = tmp_path / "PBC_dataset_normal_DIB"
    for code, label in (("BA", "basophil"), ("MO", "monocyte"), ("PLATELET", "monocyte")):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(sorted((tmp_path / "cells" / "barcelona" / label).iterdir())):
            Image.open(file).save(root / label / f"{code}_{number}.jpg")
    run_script("push_dataset", "acevedo20", root, "alice/other", "--dry-run", tmp_path / "out")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "cc-by-4.0"
    for text in ("@article{acevedo2020dataset", "PLATELET 6", 'load_dataset("alice/other")', "| basophil | BA |"):
        assert text in card.text


def test_a_wrong_path_is_a_one_line_error():
    script = Path(__file__).parents[2] / "hub" / "push_dataset.py"
    command = [sys.executable, script, "matek19", "no/such.zip", "alice/none"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr.strip().startswith("error: ")
    assert "no/such.zip" in answer.stderr
    assert "Traceback" not in answer.stderr
