"""Laboratories in shards and loaded ones make one store, as if all had been loaded."""

import pickle

import numpy as np
import pytest
from PIL import Image

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.reading_options import ReadingOptions
from bc_sam.data.sources import load_domains
from bc_sam.data.store import store_cells
from bc_sam.data.streaming.cache import ShardCache
from bc_sam.data.streaming.joined import store_domains
from bc_sam.errors import DataError

SIZE = 32
NORMALIZATION = NormalizationConfig(field_of_view=24.0)


@pytest.fixture
def specs(parquet, tmp_path):
    """A laboratory in shards between two of image files."""
    for name, level in (("north", 10), ("south", 20)):
        (tmp_path / name / "monocyte").mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (40, 40), (level + number,) * 3).save(tmp_path / name / "monocyte" / f"{number}.png")
    return [f"north={tmp_path / 'north'}", f"shards={parquet}", f"south={tmp_path / 'south'}"]


@pytest.fixture
def join(specs, tmp_path):
    """Joins the laboratories into one store."""

    def stored(**options):
        cache = ShardCache(tmp_path / "cells" / "shards", SIZE, NORMALIZATION)
        datasets = load_domains(specs, ReadingOptions(cache=cache))
        decoded = [cache.decoded.get(spec.partition("=")[0]) for spec in specs]
        return store_domains(datasets, decoded, tmp_path / "cells", SIZE, NORMALIZATION, **options)

    return stored


def test_the_store_is_that_of_loaded_data_sets(specs, join, tmp_path):
    joined = join()
    whole = store_cells(load_domains(specs, ReadingOptions()), tmp_path / "whole", SIZE, NORMALIZATION)
    assert joined.table.domain_names == ["north", "shards", "south"]
    assert {**joined.table.to_dict(), "key": 0} == {**whole.table.to_dict(), "key": 0}
    assert joined.content_key == whole.content_key
    for rows in (slice(None), 3, -1, np.array([15, 0, 7]), slice(1, 14, 5), joined.domains == 2):
        assert np.array_equal(joined.pixels[rows], whole.pixels[rows])
        assert np.array_equal(joined.masks[rows], whole.masks[rows])


def test_data_loaders_get_it_by_its_paths(join):
    joined = join()
    pickled = pickle.dumps(joined)
    assert len(pickled) < joined.pixels[:].nbytes
    assert np.array_equal(pickle.loads(pickled).pixels[:], joined.pixels[:])


def test_pixel_sizes_are_for_a_laboratory_of_either_kind(join):
    assert len(join(microns_per_pixel={"north": 0.1})) == 16
    with pytest.raises(DataError, match="given for east, but the data sets are north, shards, south"):
        join(microns_per_pixel={"east": 0.1})
