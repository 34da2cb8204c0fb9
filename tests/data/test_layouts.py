"""Folders as people have them: splits, patients, tables, links, suffixes and archives."""

import logging
import zipfile
from collections import Counter
from pathlib import Path

import datasets
import pytest
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import load_cells
from bc_sam.data.inputs import find_cells
from bc_sam.data.reading_options import ReadingOptions
from bc_sam.data.sources import load_domains
from bc_sam.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, caplog):
    """A separate cache for each test, and all messages."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", tmp_path / "cache" / "extracted")
    caplog.set_level(logging.INFO, "bc_sam")


@pytest.fixture
def make(tmp_path):
    """Writes small images at the given paths and returns their common folder."""

    def write(*files):
        for file in files:
            path = tmp_path / "cells" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path, "JPEG" if path.suffix in (".jfif", ".jpe") else None)
        return tmp_path / "cells"

    return write


def load(folder, **options):
    return load_cells(f"ours={folder}", **options)


def counts(dataset):
    return dict(Counter(None if label is None else LABELS[label] for label in dataset["label"]))


def groups(dataset):
    return dict(zip(dataset["file"], dataset["group"], strict=True))


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in members.items():
            archive.writestr(name, Path(file).read_bytes() if isinstance(file, Path) else file)
    return path


class TestSplits:
    """Folders of splits above or below the classes."""

    @pytest.mark.parametrize(
        "files",
        [
            ("TRAIN/EOSINOPHIL/1.png", "TRAIN/MONOCYTE/2.png", "TEST/MONOCYTE/3.png"),
            ("eosinophil/train/1.png", "monocyte/train/2.png", "monocyte/val/3.png"),
            ("x/Train/eosinophil/1.png", "x/Train/monocyte/2.png", "x/Test-A/monocyte/3.png"),
        ],
    )
    def test_they_are_joined_and_it_is_said(self, make, files, caplog):
        assert counts(load(make(*files))) == {"eosinophil": 1, "monocyte": 2}
        assert "are joined. Choose one with --split." in caplog.text

    def test_one_can_be_chosen(self, make, caplog):
        folder = make("TRAIN/EOSINOPHIL/1.png", "TEST/MONOCYTE/3.png")
        assert counts(load(folder, split="test")) == {"monocyte": 1}
        assert "the split test is read, of TEST (1), TRAIN (1)" in caplog.text

    def test_an_unknown_one_is_rejected(self, make):
        folder = make("TRAIN/EOSINOPHIL/1.png", "TEST/MONOCYTE/3.png")
        with pytest.raises(DataError, match=r"no split 'val'. It has TEST \(1\), TRAIN \(1\)"):
            load(folder, split="val")
        with pytest.raises(DataError, match="It has no folders of splits"):
            load(make() / "TRAIN", split="val")

    def test_unlabelled_splits_are_unlabelled(self, make):
        assert counts(load(make("train/1.png", "test/2.png"))) == {None: 2}


class TestPatients:
    """Patients or slides as folders above or below the class."""

    @pytest.mark.parametrize("file", ["p{patient}/{label}/1.png", "{label}/p{patient}/1.png"])
    def test_folders_can_be_the_groups(self, make, file):
        names = [file.format(patient=p, label=label) for p in (1, 2) for label in ("monocyte", "EOS")]
        dataset = load(make(*names), group_by="folder")
        assert counts(dataset) == {"monocyte": 2, "eosinophil": 2}
        assert set(dataset["group"]) == {"p1", "p2"}

    def test_a_pattern_is_searched_in_the_whole_path(self, make):
        folder = make("p1/monocyte/1.png", "p2/monocyte/2.png")
        assert set(load(folder, group_pattern=r"p(\d)")["group"]) == {"1", "2"}
        assert set(load(folder, group_pattern="^([^/]+)/")["group"]) == {"p1", "p2"}

    def test_splits_are_no_patients(self, make):
        folder = make("train/p1/monocyte/1.png", "test/p1/EOS/2.png", "test/p2/EOS/3.png")
        assert set(load(folder, group_by="folder")["group"]) == {"p1", "p2"}

    def test_without_labels_folders_can_be_patients(self, make):
        dataset = load(make("p1/1.png", "p2/2.png"), group_by="folder")
        assert groups(dataset) == {"p1/1.png": "p1", "p2/2.png": "p2"}
        assert counts(dataset) == {None: 2}

    def test_folders_that_may_be_patients_are_named(self, make, caplog):
        load(make("p1/monocyte/1.png", "p2/monocyte/2.png"))
        assert "2 folders are no classes or splits: p1, p2" in caplog.text

    def test_without_folders_of_patients_it_is_an_error(self, make):
        with pytest.raises(DataError, match="no folders beside those of the classes"):
            load(make("monocyte/1.png", "EOS/2.png"), group_by="folder")

    def test_a_pattern_that_extracts_classes_is_rejected(self, make):
        folder = make("monocyte/p1/1.png", "EOS/p2/2.png")
        with pytest.raises(DataError, match="extracts the classes of ours"):
            load(folder, group_pattern="^([^/]+)/")


class TestTables:
    """A CSV, TSV or JSON lines with files, labels and patients."""

    @pytest.fixture
    def folder(self, make):
        return make("images/1.jpg", "images/2.jpg")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("metadata.csv", "file_name,label,patient\nimages/1.jpg,EOS,a\nimages/2.jpg,mono,b\n"),
            ("metadata.csv", "\ufefffile_name;label;patient\nimages\\1.jpg;EOS;a\nimages\\2.jpg;mono;b\n"),
            ("labels.csv", "Image ID,Cell Type,Patient ID\n1,EOS,a\n2,mono,b\n"),
            ("images/metadata.csv", "file_name,label,slide\n1.jpg,EOS,a\n2.jpg,mono,b\n"),
            ("all.tsv", "path\tclass\tslide\n/old/place/images/1.jpg\tEOS\ta\n/old/place/images/2.jpg\tmono\tb\n"),
            (
                "metadata.jsonl",
                '{"file_name": "images/1.jpg", "label": "EOS", "patient": "a"}\n'
                '{"file_name": "images/2.jpg", "label": "mono", "patient": "b"}\n',
            ),
        ],
    )
    def test_labels_and_patients_are_read(self, folder, name, text):
        (folder / name).write_text(text, encoding="utf-8")
        for source in (folder, folder / name):
            dataset = load(source)
            assert counts(dataset) == {"eosinophil": 1, "monocyte": 1}
            assert dataset["group"][:] == ["a", "b"]

    def test_columns_can_be_named(self, folder):
        (folder / "t.csv").write_text("where,what,label\nimages/1.jpg,EOS,x\nimages/2.jpg,mono,y\n")
        dataset = load(folder / "t.csv", columns={"file": "where", "label": "what"})
        assert counts(dataset) == {"eosinophil": 1, "monocyte": 1}
        with pytest.raises(DataError, match="no column 'kind', but where, what, label"):
            load(folder / "t.csv", columns={"label": "kind"})

    def test_images_and_rows_without_a_counterpart_are_said(self, folder, caplog):
        (folder / "metadata.csv").write_text("file,label\nimages/1.jpg,EOS\nimages/9.jpg,EOS\n")
        assert counts(load(folder)) == {"eosinophil": 1}
        assert "1 of 2 images left out, not listed in metadata.csv" in caplog.text
        assert "1 rows name no image" in caplog.text

    def test_a_table_of_other_images_is_rejected(self, folder):
        (folder / "metadata.csv").write_text("file,label\nx/8.jpg,EOS\n")
        with pytest.raises(DataError, match="names none of the images"):
            load(folder)

    def test_two_labels_for_one_image_are_rejected(self, folder):
        (folder / "metadata.csv").write_text("file,label\n1.jpg,EOS\n1.jpg,mono\n")
        with pytest.raises(DataError, match=r"gives images/1\.jpg a second label, mono, in line 3"):
            load(folder)

    def test_predictions_are_no_labels(self, folder):
        (folder / "predictions.csv").write_text(
            "file,name,likeliest,probability,reasons,ood,given_by,label\n1.jpg,,,,,,,EOS\n2.jpg,,,,,,,EOS\n"
        )
        assert counts(load(folder)) == {None: 2}

    def test_of_predictions_the_names_given_by_hand_are_labels(self, folder, caplog):
        (folder / "cells.csv").write_text(
            "file,name,likeliest,probability,reasons,ood,given_by\n"
            "1.jpg,monocyte,eosinophil,0.6,,0.9,hand\n2.jpg,eosinophil,eosinophil,0.9,,0.1,rf\n"
        )
        assert counts(load(folder / "cells.csv")) == {"monocyte": 1, None: 1}
        assert "1 of 2 cells are named by hand" in caplog.text

    @pytest.mark.parametrize("name", ["no_cell", "platelet", "plasma_cell", "other"])
    def test_names_by_hand_that_are_no_class_of_a_model_are_left_out(self, folder, caplog, name):
        (folder / "cells.csv").write_text(
            "file,name,likeliest,probability,reasons,ood,given_by\n"
            f"1.jpg,{name},eosinophil,0.6,,0.9,hand\n2.jpg,monocyte,eosinophil,0.9,,0.1,hand\n"
        )
        assert counts(load(folder / "cells.csv")) == {"monocyte": 1}
        assert f"1 of 2 images left out, named by hand: {name}." in caplog.text

    def test_folders_of_classes_are_not_overruled_by_any_table(self, make, caplog):
        folder = make("monocyte/1.png", "EOS/2.png")
        (folder / "list.csv").write_text("file,label\nmonocyte/1.png,EOS\n")
        assert counts(load(folder)) == {"monocyte": 1, "eosinophil": 1}
        assert "list.csv is not used, since the folders are classes" in caplog.text
        (folder / "list.csv").rename(folder / "metadata.csv")
        assert counts(load(folder)) == {"eosinophil": 1}
        assert "gives 1 images another class than their folder" in caplog.text


class TestFiles:
    """Which files are images, and which are left out."""

    def test_every_suffix_of_the_decoder_is_found(self, make):
        folder = make("eosinophil/1.jfif", "eosinophil/2.jpe", "monocyte/3.JPG")
        assert counts(load(folder)) == {"eosinophil": 2, "monocyte": 1}

    def test_other_files_are_counted_by_kind(self, make):
        folder = make("monocyte/1.png")
        for name in ("a.txt", "monocyte/b.txt", "c.svs", "plain", ".hidden", "Thumbs.db"):
            (folder / name).touch()
        description = load(folder).info.description
        assert description.endswith("Files that are not images: .svs 1, .txt 2, without suffix 1.")

    def test_symbolic_links_to_folders_are_followed_but_not_in_circles(self, make, tmp_path, caplog):
        folder = make("eosinophil/1.png")
        other = tmp_path / "elsewhere"
        other.mkdir()
        Image.new("RGB", (4, 4)).save(other / "2.png")
        (folder / "monocyte").symlink_to(other, target_is_directory=True)
        (other / "back").symlink_to(folder, target_is_directory=True)
        assert counts(load(folder)) == {"eosinophil": 1, "monocyte": 1}
        assert "leads back into a folder that contains it" in caplog.text


class TestArchives:
    """Zips of a Mac, zips in zips, and zips to predict."""

    @pytest.fixture
    def members(self, make):
        folder = make("Monocyte/1.png", "eosinophil/2.png")
        return {f"zipped/{path.parent.name}/{path.name}": path for path in folder.rglob("*.png")}

    def test_what_a_mac_adds_is_left_out(self, members, tmp_path):
        mac = {"__MACOSX/zipped/BAS/._1.png": b"x", "__MACOSX/BAS/BAS_1.png": b"x", "zipped/.DS_Store": b"x"}
        dataset = load(zip_of(tmp_path / "mac.zip", mac | members))
        assert counts(dataset) == {"eosinophil": 1, "monocyte": 1}

    def test_a_zip_in_a_zip_is_read(self, members, tmp_path):
        inner = zip_of(tmp_path / "inner.zip", members)
        dataset = load(zip_of(tmp_path / "outer.zip", {"outer/inner.zip": inner, "outer/README.txt": b"x"}))
        assert counts(dataset) == {"eosinophil": 1, "monocyte": 1}

    def test_a_zip_can_be_predicted(self, members, tmp_path):
        source = str(zip_of(tmp_path / "slide.zip", members))
        found = find_cells([source])
        assert found.names == [f"{source}/zipped/Monocyte/1.png", f"{source}/zipped/eosinophil/2.png"]
        assert all(path.is_file() for path in found.images)


class TestOwnFolders:
    """Names of public data sets in an own folder change nothing."""

    @pytest.fixture
    def coded(self, make):
        return make("BAS/s1_1.png", "EOS/s1_2.png", "MON/s2_3.png")

    def test_codes_do_not_switch_off_the_options(self, coded):
        dataset = load(coded, group_pattern="^([^_]+)_", label_map={"MON": None})
        assert counts(dataset) == {"basophil": 1, "eosinophil": 1}
        assert dataset["group"][:] == ["s1", "s1"]

    def test_names_of_the_archives_do_not_switch_off_the_options(self, make):
        folder = make("BAS/BAS_0101.png", "EOS/EOS_0202.png", "MON/MON_0203.png")
        dataset = load(folder, group_pattern=r"_(\d\d)", label_map={"mon": None})
        assert groups(dataset) == {"BAS/BAS_0101.png": "01", "EOS/EOS_0202.png": "02"}

    def test_options_that_match_nothing_are_errors(self, coded):
        with pytest.raises(DataError, match="names MONN, but the classes are BAS, EOS, MON"):
            load(coded, label_map={"MONN": None})
        with pytest.raises(DataError, match="matches no file name"):
            load(coded, group_pattern="(zzz)")

    def test_an_option_has_to_match_in_one_of_several_data_sets(self, coded, make):
        archive = "rendered:munich:1"
        loaded = load_domains([f"a={coded}", f"b={archive}"], ReadingOptions(None, {"MON": None}, "^([^_]+)_"))
        assert [len(dataset) for dataset in loaded] == [2, 13]
        with pytest.raises(DataError, match="names XYZ"):
            load_domains([f"a={coded}", f"b={archive}"], ReadingOptions(None, {"XYZ": None}))

    def test_a_prefix_does_not_overrule_its_folder_without_a_word(self, make, caplog):
        folder = make("monocyte/EO_1.png", "monocyte/EO_2.png", "eosinophil/EO_3.png")
        assert counts(load(folder)) == {"monocyte": 2, "eosinophil": 1}
        assert "the names of 2 files start with the code of another class" in caplog.text
        assert counts(load_cells(f"ours=acevedo20:{folder}")) == {"eosinophil": 3}
        assert "the prefix of 2 files names another class than their folder" in caplog.text

    def test_splits_of_an_archive_are_not_lost(self, make):
        folder = make("TEST/EOS/EOS_1.png", "TRAIN/EOS/EOS_2.png", "TRAIN/MON/MON_3.png")
        assert counts(load(folder)) == {"eosinophil": 2, "monocyte": 1}

    def test_the_bone_marrow_set_is_read(self, make):
        folder = make(*(f"{code}/0001-1000/{code}_00001.png" for code in ("ABE", "EOS", "LYT", "PLM", "BLA")))
        dataset = load(folder)
        assert counts(dataset) == {"eosinophil": 2, "lymphocyte_typical": 1, "myeloblast": 1}
        assert "left out: PLM 1" in dataset.info.description

    def test_wbcbench_is_read_from_its_table(self, make):
        folder = make("phase1/00001.png", "phase1/00002.png", "phase1/00003.png")
        (folder / "phase1_label.csv").write_text("ID,labels,split\n00001.png,VLY,t\n00002.png,SNE,t\n00003.png,PC,t\n")
        dataset = load(folder / "phase1_label.csv")
        assert counts(dataset) == {"lymphocyte_atypical": 1, "neutrophil_segmented": 1}


class TestMaskLists:
    """Mask lists from other machines."""

    @pytest.fixture
    def folder(self, make):
        return make("img/1.jpg", "img/1.png", "img/2.jpg")

    def test_backslashes_are_read_and_masks_are_no_cells(self, folder):
        (folder / "masks.csv").write_text("image,mask\nimg\\1.jpg,img\\1.png\n")
        dataset = load(folder, masks=folder / "masks.csv")
        assert dataset["file"][:] == ["img/1.jpg", "img/2.jpg"]
        assert [mask is not None for mask in dataset.data.column("mask").to_pylist()] == [True, False]

    def test_a_list_that_matches_nothing_is_rejected(self, folder):
        (folder / "masks.csv").write_text("image,mask\nother/9.jpg,img/1.png\n")
        with pytest.raises(DataError, match=r"masks\.csv matches none of the images.*'other/9\.jpg'"):
            load(folder, masks=folder / "masks.csv")
