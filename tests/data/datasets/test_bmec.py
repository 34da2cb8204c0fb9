"""`load_bmec`: one folder per erythroid stage, recognized by name or by a label map."""

import numpy as np
import pytest
from PIL import Image

from bc_sam.config.labels import ERYTHROID_LABELS
from bc_sam.data import load_bmec, load_cells, save_parquet
from bc_sam.data.datasets.bmec import find_stage
from bc_sam.errors import DataError

FOLDERS = ("early_erythroblast", "intermediate erythroblast", "Late-Erythroblasts", "proerythroblast")


@pytest.fixture
def make(tmp_path):
    def write(*folders, cells=2):
        random = np.random.default_rng(0)
        for folder in folders:
            (tmp_path / "red" / folder).mkdir(parents=True)
            for number in range(cells):
                pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "red" / folder / f"s{number}_{number}.png")
        return tmp_path / "red"

    return write


def counts(dataset):
    names = dataset.features["label"].names
    return {name: [names[label] for label in dataset["label"]].count(name) for name in names}


def test_stages_are_recognized_by_folder_name(make):
    dataset = load_cells(f"jilin={make(*FOLDERS)}")
    assert dataset.features["label"].names == list(ERYTHROID_LABELS)
    assert counts(dataset) == dict.fromkeys(ERYTHROID_LABELS, 2)
    assert set(dataset["domain"]) == {"jilin"}
    assert dataset.info.homepage.endswith("BMEC")


def test_class_folders_may_be_below_split_folders(make):
    folder = make(*(f"{split}/{name}" for split in ("train", "val") for name in FOLDERS))
    assert counts(load_bmec(folder)) == dict.fromkeys(ERYTHROID_LABELS, 4)


def test_other_folder_names_need_a_label_map(make):
    folder = make("1", "2", "3", "4", "other")
    with pytest.raises(DataError, match="--map"):
        load_cells(f"jilin=bmec:{folder}")
    stages = dict(zip("1234", ERYTHROID_LABELS, strict=True))
    dataset = load_cells(f"jilin=bmec:{folder}", label_map={**stages, "other": None}, group_pattern="^(s.)_")
    assert counts(dataset) == dict.fromkeys(ERYTHROID_LABELS, 2)
    assert set(dataset["group"]) == {"s0", "s1"}
    assert "other 2" in dataset.info.description


def test_contradicting_folders_are_rejected(make):
    with pytest.raises(DataError, match="identify 2 of the stages"):
        load_bmec(make("early/late"))


def test_a_label_map_with_an_unknown_stage_is_rejected(make):
    with pytest.raises(DataError, match="monocyte"):
        load_bmec(make("1"), label_map={"1": "monocyte"})


def test_parquet_keeps_the_stages(make, tmp_path):
    save_parquet(load_bmec(make(*FOLDERS)), tmp_path / "parquet")
    dataset = load_cells(f"jilin={tmp_path / 'parquet'}")
    assert dataset.features["label"].names == list(ERYTHROID_LABELS)
    assert len(dataset) == 8


@pytest.mark.parametrize("name", ["monocyte", "7", "early late", "Erythroblast", ""])
def test_other_names_identify_no_stage(name):
    assert find_stage(name) is None


def test_a_folder_of_white_cells_is_not_recognized_as_bmec(make):
    folder = make("basophil", "erythroblast", "monocyte")
    assert "monocyte" in load_cells(f"here={folder}").features["label"].names
