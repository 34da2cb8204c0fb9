import json
import logging

import numpy as np
import pytest
from datasets import Dataset
from drawn_smear import draw_smear
from PIL import Image

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data import FEATURES, store
from bc_sam.data.preparation import Preparation
from bc_sam.data.store import NO_MASK, store_cells
from bc_sam.errors import ConfigError, DataError

SIZE = 32


@pytest.fixture
def make(tmp_path):
    """Builds a data set of small images; `images` gives the grey level or the raw bytes of each file."""

    def build(domain, images, labels=None, masks=None, groups=None):
        paths = []
        for name, content in images.items():
            path = tmp_path / domain / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                Image.fromarray(np.broadcast_to(np.uint8(content), (40, 48, 3)).copy()).save(path)
            paths.append(str(path))
        n = len(paths)
        columns = {
            "image": paths,
            "label": labels or [0] * n,
            "domain": [domain] * n,
            "mask": masks or [None] * n,
            "group": groups or [None] * n,
            "file": list(images),
        }
        return Dataset.from_dict(columns, features=FEATURES)

    return build


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def decoded(monkeypatch):
    """Records the files that are decoded."""
    files = []
    decode = store._decode

    def record(cell, **options):
        files.append(cell["file"])
        return decode(cell, **options)

    monkeypatch.setattr(store, "_decode", record)
    return files


def test_cells_of_all_data_sets_are_stored_in_order(make, folder):
    north = make("north", {"a.png": 10, "b.png": 20}, labels=[3, None], groups=["slide 1", None])
    south = make("south", {"c.png": 30}, labels=[12])
    cells = store_cells([north, south], folder, SIZE)
    assert len(cells) == 3
    assert cells.image_size == SIZE
    assert cells.pixels.shape == (3, SIZE, SIZE, 3)
    assert cells.pixels.dtype == np.uint8
    assert cells.pixels[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert cells.labels.tolist() == [3, -1, 12]
    assert cells.domains.tolist() == [0, 0, 1]
    assert cells.table.domain_names == ["north", "south"]
    assert cells.table.groups == ["slide 1", None, None]
    assert cells.table.files == ["a.png", "b.png", "c.png"]
    assert cells.table.sizes == [(40, 48)] * 3
    assert len(set(cells.table.fingerprints)) == 3


def test_without_file_names_cells_are_known_by_their_row(make, folder):
    dataset = make("north", {"a.png": 10, "broken.png": b"no image", "c.png": 30})
    unnamed = dataset.remove_columns("file").add_column("file", [None] * 3, feature=FEATURES["file"])
    cells = store_cells([unnamed], folder, SIZE)
    assert cells.table.files == ["north[0]", "north[2]"]
    assert "north[1]" in cells.table.unreadable[0]


def test_identical_pixels_have_the_same_digest(make, folder):
    cells = store_cells([make("north", {"a.png": 10, "b.png": 20, "copy.png": 10})], folder, SIZE)
    assert cells.digests.dtype == np.uint64
    assert cells.digests[0] == cells.digests[2] != cells.digests[1]


def test_an_unreadable_image_is_reported_and_skipped(make, folder, caplog):
    images = {"a.png": 10, "broken.png": b"no image", "c.png": 30}
    with caplog.at_level(logging.WARNING, logger="bc_sam"):
        cells = store_cells([make("north", images, labels=[1, 2, 3])], folder, SIZE)
    assert cells.table.files == ["a.png", "c.png"]
    assert cells.labels.tolist() == [1, 3]
    assert cells.pixels[:, 0, 0, 0].tolist() == [10, 30]
    assert len(cells.pixels) == len(cells.masks) == 2
    (reason,) = cells.table.unreadable
    assert reason.startswith("north: ")
    assert "broken.png" in reason
    assert "broken.png" in caplog.text


def test_an_image_with_an_unreadable_mask_is_reported_and_skipped(make, folder, tmp_path):
    (tmp_path / "mask.png").write_bytes(b"no mask")
    dataset = make("north", {"a.png": 10, "b.png": 20}, masks=[str(tmp_path / "mask.png"), None])
    cells = store_cells([dataset], folder, SIZE)
    assert cells.table.files == ["b.png"]
    assert "mask.png" in cells.table.unreadable[0]


def test_a_data_set_without_readable_images_is_rejected_and_leaves_no_store(make, folder):
    north, south = make("north", {"a.png": 10}), make("south", {"broken.png": b"no image"})
    with pytest.raises(DataError, match=r"No image of 'south' can be read\. First error: .*broken\.png"):
        store_cells([north, south], folder, SIZE)
    assert not (folder / "table.json").exists()


def test_two_data_sets_of_the_same_name_are_rejected(make, folder):
    with pytest.raises(DataError, match=r"share a name: north, north\. Give each a different NAME"):
        store_cells([make("north", {"a.png": 1}), make("north", {"b.png": 2})], folder, SIZE)


def test_masks_keep_their_classes_and_missing_ones_are_marked(make, folder, tmp_path):
    mask = np.zeros((40, 48), dtype=np.uint8)
    mask[10:30, 10:40] = 1
    mask[15:25, 20:30] = 2
    Image.fromarray(mask).save(tmp_path / "mask.png")
    dataset = make("north", {"a.png": 10, "b.png": 20}, masks=[str(tmp_path / "mask.png"), None])
    cells = store_cells([dataset], folder, SIZE)
    assert cells.has_mask.tolist() == [True, False]
    nearest = Image.fromarray(mask).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    assert np.array_equal(cells.masks[0], nearest)
    assert set(np.unique(cells.masks[0])) == {0, 1, 2}
    assert (cells.masks[1] == NO_MASK).all()


def interrupt(table, path):
    raise KeyboardInterrupt


class TestReopening:
    def test_an_unchanged_store_is_not_decoded_again(self, make, folder, decoded):
        dataset = make("north", {"a.png": 10, "broken.png": b"no image"})
        first = store_cells([dataset], folder, SIZE)
        assert sorted(decoded) == ["a.png", "broken.png"]
        again = store_cells([dataset], folder, SIZE)
        assert len(decoded) == 2
        assert again.table == first.table
        assert np.array_equal(again.pixels, first.pixels)

    def test_a_changed_file_is_decoded_again(self, make, folder, tmp_path):
        dataset = make("north", {"a.png": 10})
        store_cells([dataset], folder, SIZE)
        Image.new("RGB", (50, 50), (99, 99, 99)).save(tmp_path / "north" / "a.png")
        assert store_cells([dataset], folder, SIZE).pixels[0, 0, 0, 0] == 99

    def test_a_changed_size_label_group_or_data_set_is_decoded_again(self, make, folder, decoded):
        one = make("north", {"a.png": 10})
        for datasets, size in (
            ([one], SIZE),
            ([one], 48),
            ([make("north", {"a.png": 10}, labels=[5])], 48),
            ([make("north", {"a.png": 10}, groups=["slide"])], 48),
            ([one, make("south", {"b.png": 20})], 48),
        ):
            decoded.clear()
            cells = store_cells(datasets, folder, size)
            assert decoded
            assert cells.image_size == size
        assert len(cells) == 2

    def test_embedded_images_are_identified_by_their_bytes(self, make, folder, decoded, tmp_path):
        def embedded(level):
            dataset = make("north", {"a.png": level})
            image = {"bytes": (tmp_path / "north" / "a.png").read_bytes(), "path": None}
            return dataset.remove_columns("image").add_column("image", [image], feature=FEATURES["image"])

        store_cells([embedded(10)], folder, SIZE)
        store_cells([embedded(10)], folder, SIZE)
        assert len(decoded) == 1
        assert store_cells([embedded(77)], folder, SIZE).pixels[0, 0, 0, 0] == 77

    def test_a_store_of_an_older_version_is_decoded_again(self, make, folder, decoded):
        dataset = make("north", {"a.png": 10})
        store_cells([dataset], folder, SIZE)
        table = json.loads((folder / "table.json").read_text())
        del table["sizes"]
        (folder / "table.json").write_text(json.dumps(table))
        assert store_cells([dataset], folder, SIZE).table.sizes == [(40, 48)]
        assert len(decoded) == 2

    def test_an_interrupted_store_is_not_reused(self, make, folder, monkeypatch):
        north, south = make("north", {"a.png": 10}), make("south", {"b.png": 200})
        store_cells([north], folder, SIZE)
        with monkeypatch.context() as patch:
            patch.setattr(store.CellTable, "save", interrupt)  # after the pixels were written, before the table
            with pytest.raises(KeyboardInterrupt):
                store_cells([south], folder, SIZE)
        assert store_cells([north], folder, SIZE).pixels[0, 0, 0, 0] == 10


class TestMeanStd:
    def test_the_standard_deviation_is_computed_per_image(self, make, folder):
        halves = np.full((40, 48, 3), (200, 100, 50))
        halves[:, :24] = (100, 100, 0)
        cells = store_cells([make("north", {"a.png": halves, "b.png": 7, "c.png": 255})], folder, SIZE)
        means = cells.pixels[:2].reshape(2, -1, 3).mean(1)
        stds = cells.pixels[:2].reshape(2, -1, 3).std(1)
        mean, std = cells.mean_std(np.array([0, 1]))
        assert mean == pytest.approx(means.mean(0), abs=1e-4)
        assert std == pytest.approx(stds.mean(0), abs=1e-4)
        assert std[1] == 0
        assert 20 < std[0] < 30

    def test_only_the_given_rows_are_used(self, make, folder):
        cells = store_cells([make("north", {"a.png": 10, "b.png": 250})], folder, SIZE)
        assert cells.mean_std(np.array([1])) == ((250, 250, 250), (0, 0, 0))


RED_CELL = 25  # pixels wide, so that a pixel is 0.3 µm wide
NORMALIZATION = NormalizationConfig(field_of_view=24.0)


class TestNormalized:
    """Cells are stored at one scale and light, with the profile of their laboratory."""

    @pytest.fixture
    def smears(self, tmp_path):
        """Builds a data set of drawn smears of 150 px x `zoom`, with annotated masks of their white cells."""

        def build(domain, zoom=1.0, gain=(1.0, 1.0, 1.0), n=3, **save):
            side, white_cell = round(150 * zoom), 50 * zoom
            folder = tmp_path / domain
            folder.mkdir(exist_ok=True)
            row, column = np.ogrid[:side, :side]
            mask = np.hypot(row - side / 2, column - side / 2) < white_cell / 2
            Image.fromarray(mask.astype(np.uint8)).save(folder / "mask.png")
            files = [f"{i}.tif" for i in range(n)]
            for i, file in enumerate(files):
                image = draw_smear(side, RED_CELL * zoom, white_cell=white_cell, gain=gain, seed=i)
                Image.fromarray(image).save(folder / file, **save)
            columns = {
                "image": [str(folder / file) for file in files],
                "label": [0] * n,
                "domain": [domain] * n,
                "mask": [str(folder / "mask.png")] * n,
                "group": [None] * n,
                "file": files,
            }
            return Dataset.from_dict(columns, features=FEATURES)

        return build

    def test_cells_of_two_cameras_are_stored_alike(self, smears, folder):
        north, south = smears("north"), smears("south", zoom=1.8, gain=(1, 0.85, 0.7))
        cells = store_cells([north, south], folder, 64, NORMALIZATION)
        middle = cells.pixels[:, 28:36, 28:36].mean(axis=(1, 2))  # of the nucleus
        assert middle[:3].mean(axis=0) == pytest.approx(middle[3:].mean(axis=0), abs=5)
        widths = np.sqrt(cells.masks[:].astype(float).sum(axis=(1, 2)) * 4 / np.pi) * 24 / 64
        assert widths == pytest.approx(np.full(6, 15), rel=0.12)

    def test_the_profiles_are_recorded(self, smears, folder):
        table = store_cells([smears("north"), smears("south", zoom=1.8)], folder, 64, NORMALIZATION).table
        sizes = [profile.scale.microns_per_pixel for profile in table.profiles]
        assert sizes == pytest.approx([0.3, 0.3 / 1.8], rel=0.1)
        assert [profile.n_images for profile in table.profiles] == [3, 3]
        assert table.field_of_view == 24.0
        assert table.sizes == [(150, 150)] * 3 + [(270, 270)] * 3

    def test_squares_have_none(self, smears, folder):
        table = store_cells([smears("north")], folder, 64).table
        assert (table.profiles, table.field_of_view) == ([], None)

    def test_every_cell_is_prepared_with_its_laboratorys_profile(self, smears, folder):
        north, south = smears("north"), smears("south", zoom=1.8)
        cells = store_cells([north, south], folder, 64, NORMALIZATION)
        for row, dataset in ((1, north), (4, south)):
            preparation = Preparation(64, NORMALIZATION, cells.table.profiles[row // 3])
            prepared = preparation.prepare(dataset[1]["image"].convert("RGB"))
            assert np.array_equal(cells.pixels[row], prepared.pixels)
            assert np.array_equal(cells.masks[row], prepared.see_mask(np.asarray(dataset[1]["mask"])))

    def test_the_profiles_are_read_again_and_not_estimated(self, smears, folder, decoded, monkeypatch):
        dataset = smears("north")
        first = store_cells([dataset], folder, 64, NORMALIZATION)
        decoded.clear()
        monkeypatch.setattr(store, "profile_sources", None)
        again = store_cells([dataset], folder, 64, NORMALIZATION)
        assert not decoded
        assert again.table.profiles == first.table.profiles

    def test_other_settings_decode_again(self, smears, folder, decoded):
        dataset = smears("north")
        for options in (
            {},
            {"normalization": NORMALIZATION},
            {"normalization": NormalizationConfig(24.0, stain=False)},
            {"normalization": NormalizationConfig(26.0, stain=False)},
            {"normalization": NORMALIZATION, "microns_per_pixel": {"north": 0.28}},
        ):
            decoded.clear()
            cells = store_cells([dataset], folder, 64, **options)
            assert decoded
        assert cells.table.profiles[0].scale.microns_per_pixel == 0.28

    def test_a_known_pixel_size_holds_for_the_named_data_set(self, smears, folder):
        sizes = {"south": 0.25}
        table = store_cells(
            [smears("north"), smears("south")], folder, 64, NORMALIZATION, microns_per_pixel=sizes
        ).table
        assert [profile.scale.ruler for profile in table.profiles] == ["red cells", "given"]

    def test_a_known_pixel_size_of_another_data_set_is_refused(self, smears, folder):
        with pytest.raises(DataError, match="given for east, but the data sets are north"):
            store_cells([smears("north")], folder, 64, NORMALIZATION, microns_per_pixel={"east": 0.1})

    def test_an_implausible_pixel_size_is_refused(self, smears, folder):
        with pytest.raises(ConfigError, match="microns_per_pixel must be between"):
            store_cells([smears("north")], folder, 64, NORMALIZATION, microns_per_pixel={"north": 10.0})
        assert not folder.exists()

    def test_images_of_several_magnifications_are_measured_by_themselves(self, smears, folder, caplog):
        small, large = smears("north"), smears("other", zoom=1.8)
        columns = {name: [*small[name], *large[name]] for name in small.column_names if name not in ("image", "mask")}
        paths = [str(folder.parent / name / f"{i}.tif") for name in ("north", "other") for i in range(3)]
        mixed = Dataset.from_dict(
            columns | {"image": paths, "mask": [None] * 6, "domain": ["north"] * 6}, features=FEATURES
        )
        with caplog.at_level(logging.WARNING, logger="bc_sam"):
            cells = store_cells([mixed], folder, 64, NORMALIZATION)
        assert cells.table.profiles[0].scale.ruler == "unknown"
        assert "north: the scale is unknown. The red cells of single images differ by" in caplog.text
        darkest = cells.pixels[:, 28:36, 28:36].mean(axis=(1, 2))
        assert darkest[:3].mean(axis=0) == pytest.approx(darkest[3:].mean(axis=0), abs=8)

    def test_a_single_image_is_its_own_laboratory(self, smears, folder):
        cells = store_cells([smears("north", n=1)], folder, 64, NORMALIZATION)
        assert cells.table.profiles[0].scale.ruler == "unknown"
        width = np.sqrt(cells.masks[0].astype(float).sum() * 4 / np.pi) * 24 / 64
        assert width == pytest.approx(15, rel=0.12)

    def test_without_a_common_scale_a_files_resolution_tag_counts(self, smears, folder):
        dataset = smears("north", n=1, resolution_unit=3, x_resolution=1e4 / 0.35)
        cells = store_cells([dataset], folder, 64, NORMALIZATION)
        width = np.sqrt(cells.masks[0].astype(float).sum() * 4 / np.pi) * 24 / 64
        assert width == pytest.approx(50 * 0.35, rel=0.05)

    def test_unreadable_images_are_skipped(self, smears, folder):
        dataset = smears("north")
        (folder.parent / "north" / "1.tif").write_bytes(b"no image")
        cells = store_cells([dataset], folder, 64, NORMALIZATION)
        assert cells.table.files == ["0.tif", "2.tif"]
        assert cells.table.profiles[0].n_images == 2

    def test_a_data_set_without_readable_images_is_rejected(self, make, folder):
        with pytest.raises(DataError, match="No image of 'south' can be read"):
            store_cells([make("south", {"broken.png": b"no image"})], folder, SIZE, NORMALIZATION)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
def test_damaged_pixels_are_decoded_again_and_reported(make, folder, content, caplog):
    dataset = make("north", {"a.png": 10})
    store_cells([dataset], folder, SIZE)
    (folder / "pixels.npy").write_bytes(content)
    assert store_cells([dataset], folder, SIZE).pixels[0, 0, 0, 0] == 10
    assert "damaged" in caplog.text
