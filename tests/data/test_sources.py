"""`load_cells` reads every type of source, and `save_parquet` round-trips."""

import zipfile

import datasets
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub import HfApi
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import (
    FEATURES,
    hub_images,
    load_acevedo20,
    load_bccd,
    load_cells,
    load_folder,
    load_matek19,
    load_rendered,
    save_parquet,
    sources,
)
from bc_sam.data.images import encode_png
from bc_sam.data.provenance import Provenance
from bc_sam.data.sources import PUBLIC_DATASETS, PublicDataset, provenance_of
from bc_sam.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A separate cache for each test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", tmp_path / "cache" / "extracted")


@pytest.fixture
def write(tmp_path):
    """Writes an image of a distinct colour at each path below a new folder."""

    def write_images(*files):
        for i, file in enumerate(files):
            path = tmp_path / "cells" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 5), (9 * i, 100, 200)).save(path)
        return tmp_path / "cells"

    return write_images


def labels_by_file(dataset):
    names = [None if label is None else LABELS[label] for label in dataset["label"]]
    return dict(zip(dataset["file"], names, strict=True))


def rows(dataset):
    """Everything in a data set, with decoded pixels."""
    decoded = [
        {name: np.asarray(value).tolist() if isinstance(value, Image.Image) else value for name, value in row.items()}
        for row in dataset
    ]
    return dataset.features, decoded


class TestLayouts:
    """A folder or zip is recognized by its layout."""

    def test_code_folders_are_matek19(self, write):
        dataset = load_cells(f"lab={write('x/AML/BAS/BAS_1.tiff', 'x/AML/PMB/PMB_1.tiff')}")
        assert labels_by_file(dataset) == {"BAS/BAS_1.tiff": "basophil"}
        assert dataset["domain"][:] == ["lab"]

    def test_code_prefixes_are_acevedo20(self, write):
        dataset = load_cells(f"lab={write('ig/MMY_1.jpg', 'ig/IG_1.jpg', 'ig/MY_2.jpg')}")
        assert labels_by_file(dataset) == {"ig/MMY_1.jpg": "metamyelocyte", "ig/MY_2.jpg": "myelocyte"}

    def test_class_folders_are_read_by_load_folder(self, write):
        folder = write("monocyte/s1_1.png", "other/s2_2.png")
        dataset = load_cells(f"lab={folder}", label_map={"other": "basophil"}, group_pattern="(s.)_")
        assert labels_by_file(dataset) == {"monocyte/s1_1.png": "monocyte", "other/s2_2.png": "basophil"}
        assert dataset["group"][:] == ["s1", "s2"]

    def test_a_flat_folder_is_unlabelled(self, write):
        assert labels_by_file(load_cells(f"lab={write('1.png')}")) == {"1.png": None}

    def test_a_stray_file_does_not_hide_the_layout(self, write):
        folder = write("BAS/BAS_1.tiff", "EOS/EOS_1.tiff", "trash/x.png")
        with pytest.raises(DataError, match=r"trash/x\.png .* none of the codes BAS"):
            load_cells(f"lab={folder}")

    def test_a_zip_is_read_like_its_folder(self, write, tmp_path):
        folder = write("monocyte/1.png", "EOS/2.png")
        with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
            for path in folder.rglob("*.png"):
                archive.write(path, path.relative_to(tmp_path))
        assert rows(load_cells(f"lab={tmp_path / 'cells.zip'}")) == rows(load_cells(f"lab={folder}"))


class TestPublicDatasets:
    """A registered data set needs a loader and an entry in the table."""

    @pytest.fixture
    def raabin(self, monkeypatch):
        def load(folder, *, domain, masks=None):
            return load_folder(folder, domain=domain, masks=masks, label_map={"neutro": "neutrophil_segmented"})

        provenance = Provenance("Raabin-WBC", homepage="https://raabindata.com")
        dataset = PublicDataset(provenance, lambda folder: (folder / "raabin.txt").exists(), load)
        monkeypatch.setitem(PUBLIC_DATASETS, "raabin", dataset)
        return dataset

    def test_it_is_recognized_by_its_layout(self, raabin, write):
        folder = write("neutro/1.png")
        (folder / "raabin.txt").touch()
        assert labels_by_file(load_cells(f"lab={folder}")) == {"neutro/1.png": "neutrophil_segmented"}

    def test_it_can_be_selected_by_name(self, raabin, write):
        dataset = load_cells(f"lab=raabin:{write('neutro/1.png')}")
        assert labels_by_file(dataset) == {"neutro/1.png": "neutrophil_segmented"}
        assert dataset["domain"][:] == ["lab"]

    def test_its_provenance_is_found_by_homepage(self, raabin, write):
        dataset = load_folder(write("monocyte/1.png"), domain="lab")
        assert provenance_of(dataset) is None
        dataset.info.homepage = "https://raabindata.com"
        assert provenance_of(dataset) == raabin.provenance

    def test_it_is_listed_in_the_error_for_a_missing_source(self, raabin):
        with pytest.raises(DataError, match=r"bccd:FOLDER, raabin:FOLDER, or rendered"):
            load_cells("lab=/gone")


@pytest.mark.parametrize("spec", ["", "cells", "=cells", "lab="])
def test_an_invalid_specification_is_rejected(spec):
    with pytest.raises(DataError, match="is not NAME=SOURCE"):
        load_cells(spec)


def test_a_missing_source_is_rejected_with_the_source_types():
    with pytest.raises(DataError, match=r"'/gone' of lab does not exist.*zip.*parquet.*Hub.*rendered"):
        load_cells("lab=/gone")


def test_a_file_of_another_type_is_rejected(tmp_path):
    (tmp_path / "cells.txt").touch()
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        load_cells(f"lab={tmp_path / 'cells.txt'}")


class TestRendered:
    """Cells rendered by the package."""

    def test_count_and_seed_are_passed_and_the_domain_is_the_name(self):
        dataset = load_cells("lab=rendered:munich:1:3")
        expected = load_rendered("munich", cells_per_class=1, seed=3)
        assert dataset.features == FEATURES
        assert dataset["domain"][:] == ["lab"] * len(LABELS)
        assert rows(dataset.remove_columns("domain"))[1] == rows(expected.remove_columns("domain"))[1]

    @pytest.mark.parametrize("source", ["rendered:munich:x", "rendered:munich:1:2:3", "rendered:munich:-1"])
    def test_invalid_numbers_are_rejected(self, source):
        with pytest.raises(DataError, match="is not rendered:LABORATORY"):
            load_cells(f"lab={source}")

    def test_an_unknown_laboratory_is_rejected(self):
        with pytest.raises(DataError, match="Unknown laboratory 'atlantis'"):
            load_cells("lab=rendered:atlantis")


class TestParquet:
    """Self-contained shards."""

    @pytest.fixture
    def cells(self, write, tmp_path):
        """Two labelled cells in TIFF and PNG, one of them with a mask."""
        folder = write("monocyte/s1_1.tiff", "EOS/s2_2.png")
        Image.new("L", (6, 5), 2).save(tmp_path / "mask.png")
        (tmp_path / "pairs.csv").write_text("image,mask\nEOS/s2_2.png,mask.png\n")
        return load_folder(folder, domain="lab", masks=tmp_path / "pairs.csv", group_pattern="(s.)_")

    def test_shards_round_trip_without_the_original_files(self, cells, write, tmp_path):
        expected = rows(cells)
        save_parquet(cells, tmp_path / "out")
        for path in [*write().rglob("*.*"), tmp_path / "mask.png"]:
            path.unlink()
        shard = tmp_path / "out" / "train-00000-of-00001.parquet"
        assert [path.name for path in (tmp_path / "out").iterdir()] == [shard.name]
        plain = datasets.load_dataset(str(tmp_path / "out"), split="train")
        for read in (plain, load_cells(f"lab={tmp_path / 'out'}"), load_cells(f"lab={shard}")):
            assert rows(read) == expected

    def test_several_shards_keep_the_order(self, cells, tmp_path, monkeypatch):
        monkeypatch.setattr(sources, "_ROWS_PER_SHARD", 2)
        many = cells.select([0, 1, 1, 0, 0])
        save_parquet(many, tmp_path / "out")
        assert len(list((tmp_path / "out").iterdir())) == 3
        assert rows(load_cells(f"lab={tmp_path / 'out'}")) == rows(many)

    def test_an_existing_folder_is_not_overwritten(self, cells, tmp_path):
        save_parquet(cells, tmp_path / "out")
        with pytest.raises(DataError, match="out exists and is not an empty folder"):
            save_parquet(cells, tmp_path / "out")

    def test_a_failure_leaves_no_partial_data_set(self, cells, write, tmp_path):
        next(write().rglob("*.tiff")).unlink()
        before = set(tmp_path.iterdir())
        with pytest.raises(DataError, match=r"no longer exists: .*s1_1\.tiff"):
            save_parquet(cells, tmp_path / "out")
        assert set(tmp_path.iterdir()) == before

    def test_an_empty_data_set_is_rejected(self, cells, tmp_path):
        with pytest.raises(DataError, match="The data set is empty"):
            save_parquet(cells.select([]), tmp_path / "out")

    def test_a_damaged_file_is_rejected(self, tmp_path):
        (tmp_path / "cells.parquet").write_bytes(b"PAR1 no more")
        with pytest.raises(DataError, match=r"cells\.parquet cannot be read as parquet"):
            load_cells(f"lab={tmp_path / 'cells.parquet'}")


class TestHub:
    """Data set ids; downloads from the Hub are mocked."""

    @pytest.fixture(autouse=True)
    def listing(self, monkeypatch):
        """A repository of tables."""
        monkeypatch.setattr(sources, "download_images", lambda source, **options: None)

    def test_splits_are_concatenated_and_conform(self, monkeypatch):
        def load(name, **options):
            assert (name, options) == ("org/cells", {"revision": "v1", "token": "secret"})
            part = Dataset.from_dict({"image": [{"bytes": b"1", "path": None}], "label": ["EOS"]})
            return DatasetDict(train=part, test=part)

        monkeypatch.setattr(sources, "load_dataset", load)
        dataset = load_cells("lab=org/cells", revision="v1", token="secret")
        assert dataset.features == FEATURES
        assert dataset["label"][:] == [LABELS.index("eosinophil")] * 2
        assert dataset["domain"][:] == ["lab"] * 2

    @pytest.mark.parametrize("error", [ConnectionError("offline"), datasets.exceptions.DatasetNotFoundError("gone")])
    def test_a_data_set_that_cannot_be_loaded_is_rejected(self, monkeypatch, error):
        def load(name, **options):
            raise error

        monkeypatch.setattr(sources, "load_dataset", load)
        with pytest.raises(DataError, match="org/cells is not a local path and cannot be loaded from the Hub"):
            load_cells("lab=org/cells")

    def test_a_local_folder_takes_precedence_over_the_hub(self, write, monkeypatch):
        monkeypatch.chdir(write("1.png").parent.parent)
        monkeypatch.setattr(sources, "load_dataset", None)
        source = f"{write().parent.name}/cells"
        assert len(load_cells(f"lab={source}")) == 1


@pytest.mark.parametrize(
    ("folder", "load"), [("matek19", load_matek19), ("acevedo20", load_acevedo20), ("bccd", load_bccd)]
)
def test_real_layouts_are_recognized(real_data, folder, load):
    dataset = load_cells(f"lab={real_data / folder}")
    assert provenance_of(dataset) == PUBLIC_DATASETS[folder].provenance
    assert dataset["file"][:] == load(real_data / folder)["file"][:]


class TestHubRepositories:
    """Repositories of a Hub, as `datasets` users have them."""

    @pytest.fixture
    def push(self, hub, repo_id, tmp_path):
        """Creates a repository with these files; images are drawn."""

        def upload(**files):
            for name, content in files.items():
                path = tmp_path / "repository" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if content is None:
                    Image.new("RGB", (6, 5)).save(path)
                else:
                    path.write_bytes(content)
            HfApi().create_repo(repo_id, repo_type="dataset")
            HfApi().upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=tmp_path / "repository")
            return f"lab={repo_id}"

        return upload

    @pytest.fixture
    def parquet(self, tmp_path):
        """The bytes of a parquet file with two cells and these columns."""

        def write(**columns):
            images = [{"bytes": encode_png(Image.new("RGB", (6, 5))), "path": None}] * 2
            table = Dataset.from_dict({"image": images, **columns})
            table.to_parquet(tmp_path / "one.parquet")
            return (tmp_path / "one.parquet").read_bytes()

        return write

    def test_images_with_the_name_of_a_split_do_not_hide_the_others(self, push):
        names = ["monocyte/1.png", "monocyte/dev_2.png", "eosinophil/test_3.png", "eosinophil/4.png"]
        dataset = load_cells(push(**dict.fromkeys(names)))
        assert labels_by_file(dataset) == {name: name.partition("/")[0] for name in names}

    def test_images_that_are_listed_but_did_not_come_are_an_error(self, push, tmp_path, monkeypatch):
        spec = push(**dict.fromkeys(["monocyte/1.png", "monocyte/2.png"]))
        incomplete = tmp_path / "snapshot" / "monocyte"
        incomplete.mkdir(parents=True)
        Image.new("RGB", (6, 5)).save(incomplete / "1.png")
        monkeypatch.setattr(hub_images, "snapshot_download", lambda *_, **__: str(incomplete.parent))
        with pytest.raises(DataError, match="lists 2 images, but only 1 came"):
            load_cells(spec)

    def test_a_table_of_patients_does_not_hide_the_labels_of_the_folders(self, push):
        table = b"file_name,patient\nmonocyte/1.png,a\neosinophil/2.png,b\n"
        dataset = load_cells(push(**{"monocyte/1.png": None, "eosinophil/2.png": None, "metadata.csv": table}))
        assert labels_by_file(dataset) == {"monocyte/1.png": "monocyte", "eosinophil/2.png": "eosinophil"}
        assert sorted(dataset["group"]) == ["a", "b"]

    def test_splits_and_other_column_names(self, push, parquet, caplog):
        train = parquet(kind=["EOS", "mono"], patient_hash=["a", "b"])
        spec = push(**{"data/train-0.parquet": train, "data/test-0.parquet": train})
        columns = {"label": "kind", "group": "patient_hash"}
        joined = load_cells(spec, columns=columns)
        assert len(joined) == 4
        assert "the splits train (2), test (2) are joined" in caplog.text
        chosen = load_cells(spec, split="test", columns=columns)
        assert [LABELS[label] for label in chosen["label"]] == ["eosinophil", "monocyte"]
        assert chosen["group"][:] == ["a", "b"]
        with pytest.raises(DataError, match=r"no split 'val', but train \(2\), test \(2\)"):
            load_cells(spec, split="val")

    def test_configs(self, push, parquet):
        card = (
            "---\nconfigs:\n- config_name: one\n  data_files: one.parquet\n"
            "- config_name: two\n  data_files: two.parquet\n---\n"
        )
        files = {"one.parquet": parquet(label=["EOS", "EOS"]), "two.parquet": parquet(label=["mono", "mono"])}
        spec = push(**files, **{"README.md": card.encode()})
        assert {LABELS[label] for label in load_cells(spec, config="two")["label"]} == {"monocyte"}
        with pytest.raises(DataError, match=r"has the configs \['one', 'two'\]\. Choose one with --config"):
            load_cells(spec)

    def test_unknown_labels_are_not_read_without_need(self, push, parquet):
        spec = push(**{"train.parquet": parquet(label=["x", "y"])})
        assert load_cells(spec, labelled=False)["label"][:] == [None, None]
