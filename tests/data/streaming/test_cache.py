"""Data sets in shards are decoded shard by shard, each once, to the cells that loading them as a whole gives."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from drawn_shards import write_parquet
from huggingface_hub import HfApi, HfFileSystem
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.reading_options import ReadingOptions
from bc_sam.data.sources import load_domains
from bc_sam.data.store import store_cells
from bc_sam.data.streaming.cache import ShardCache
from bc_sam.errors import DataError

SIZE = 32
NORMALIZATION = NormalizationConfig(field_of_view=24.0)


@pytest.fixture
def stream(tmp_path):
    """Decodes a source in shards into the same folder each time; returns its store."""

    def decode(source, *, normalization=None, **options):
        cache = ShardCache(tmp_path / "shards", SIZE, normalization)
        (dataset,) = load_domains([f"lab={source}"], ReadingOptions(**options, cache=cache))
        return cache.decoded["lab"].select(dataset)

    return decode


@pytest.fixture
def decoded(tmp_path):
    """Returns when each shard was decoded, by its folder."""

    def times():
        return {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*/*/table.json")}

    return times


def loaded(source, folder, *, normalization=None, **options):
    """The store of a source that is loaded as a whole."""
    return store_cells(load_domains([f"lab={source}"], ReadingOptions(**options)), folder, SIZE, normalization)


def same(one, other):
    """Whether two stores have the same cells, also of what is said of them."""
    tables = [{**store.table.to_dict(), "key": 0} for store in (one, other)]
    return (
        tables[0] == tables[1]
        and one.content_key == other.content_key
        and np.array_equal(one.pixels[:], other.pixels[:])
        and np.array_equal(one.masks[:], other.masks[:])
    )


@pytest.mark.parametrize("normalization", [None, NORMALIZATION])
def test_the_cells_are_those_of_the_data_set_loaded_as_a_whole(parquet, stream, tmp_path, normalization):
    streamed = stream(parquet, normalization=normalization)
    assert [LABELS[label] for label in streamed.labels[:2]] == ["eosinophil", "monocyte"]
    assert streamed.table.groups[:3] == ["slide 0", "slide 0", "slide 1"]
    assert streamed.table.files == [f"{seed}.png" for seed in range(12)]
    assert same(streamed, loaded(parquet, tmp_path / "whole", normalization=normalization))


def test_tars_of_webdataset(tars, stream, tmp_path):
    options = {
        "columns": {"image": "png", "mask": "mask.png"},
        "label_map": {"0": "eosinophil", "1": "monocyte"},
        "group_pattern": "slide_([0-9]+)/",
    }
    streamed = stream(tars, **options)
    assert streamed.table.files[:2] == ["slide_0/0.png", "slide_0/1.png"]
    assert streamed.table.groups[:3] == ["0", "0", "1"]
    assert [LABELS[label] for label in streamed.labels[:2]] == ["eosinophil", "monocyte"]
    assert streamed.has_mask.all()
    assert (streamed.masks[:] == 1).all()
    whole = loaded(tars, tmp_path / "whole", columns=options["columns"], label_map=options["label_map"])
    assert np.array_equal(streamed.pixels[:], whole.pixels[:])


def test_a_second_run_decodes_nothing(parquet, stream, decoded):
    first, times = stream(parquet, normalization=NORMALIZATION), decoded()
    assert len(times) == 3
    assert same(stream(parquet, normalization=NORMALIZATION), first)
    assert decoded() == times


def test_other_labels_need_no_decoding(parquet, stream, decoded):
    stream(parquet)
    times = decoded()
    cells = stream(parquet, label_map={"EOS": "basophil", "MON": None})
    assert cells.table.files == [f"{seed}.png" for seed in range(0, 12, 2)]
    assert {LABELS[label] for label in cells.labels} == {"basophil"}
    assert np.array_equal(cells.pixels[1], stream(parquet).pixels[2])
    assert decoded() == times


def test_decoding_goes_on_at_the_shard_where_it_stopped(parquet, stream, decoded, tmp_path):
    shard, intact = parquet / "train-00001.parquet", tmp_path / "intact"
    shutil.copy2(shard, intact)
    content = shard.read_bytes()
    shard.write_bytes(content[:4] + bytes(100) + content[104:])  # opens, but cannot be read
    os.utime(shard, ns=(intact.stat().st_atime_ns, intact.stat().st_mtime_ns))
    with pytest.raises(DataError, match=r"train-00001\.parquet cannot be read"):
        stream(parquet)
    times = decoded()
    assert len(times) == 1
    shutil.copy2(intact, shard)
    stream(parquet)
    assert len(decoded()) == 3
    assert times.items() < decoded().items()


_KILLED = """
import os, signal, sys
from pathlib import Path
from bc_sam.data.reading_options import ReadingOptions
from bc_sam.data.sources import load_domains
from bc_sam.data.streaming.cache import ShardCache

def die(event, arguments):
    if event == "os.rename" and len(list(folder.glob("*/*/table.json"))) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

source, folder = sys.argv[1], Path(sys.argv[2])
sys.addaudithook(die)
load_domains([f"lab={source}"], ReadingOptions(cache=ShardCache(folder, 32)))
"""


def test_a_killed_decoding_keeps_what_it_finished(parquet, stream, decoded, tmp_path):
    command = [sys.executable, "-c", _KILLED, str(parquet), str(tmp_path / "shards")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    times = {name: time for name, time in decoded().items() if not name.startswith(".")}
    assert len(times) == 1  # the second was complete, but for its name
    assert same(stream(parquet), loaded(parquet, tmp_path / "whole"))
    assert times.items() < decoded().items()
    assert len(decoded()) == 3


def test_a_changed_shard_alone_is_decoded_again_and_what_it_replaces_is_removed(parquet, stream, decoded):
    stream(parquet)
    times = decoded()
    write_parquet(parquet / "train-00001.parquet", [20, 21, 22])
    cells = stream(parquet)
    assert cells.table.files[4:7] == ["20.png", "21.png", "22.png"]
    assert len(decoded()) == 3
    assert len(times.items() & decoded().items()) == 2


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY"])
def test_damaged_cells_are_decoded_again(parquet, stream, tmp_path, damage, caplog):
    stream(parquet)
    next((tmp_path / "shards").glob("*/*/pixels.npy")).write_bytes(damage)
    assert same(stream(parquet), loaded(parquet, tmp_path / "whole"))
    assert "damaged" in caplog.text


def test_unreadable_images_are_reported_and_left_out_in_every_run(tmp_path, stream):
    write_parquet(tmp_path / "cells" / "train-0.parquet", range(4), bad=[1])
    write_parquet(tmp_path / "cells" / "train-1.parquet", [4, 5], bad=[4, 5])
    for _ in range(2):
        cells = stream(tmp_path / "cells")
        assert cells.table.files == ["0.png", "2.png", "3.png"]
        assert len(cells.table.unreadable) == 3
        assert "train-0.parquet[1]" in cells.table.unreadable[0]


def test_a_data_set_without_a_readable_image_is_refused(tmp_path, stream):
    write_parquet(tmp_path / "cells.parquet", [0, 1], bad=[0, 1])
    with pytest.raises(DataError, match=r"No image of 'lab' can be read\. First error: .*cells\.parquet\[0\]"):
        stream(tmp_path / "cells.parquet")


def test_numbers_that_nothing_names_are_refused_before_a_shard_is_decoded(tars, stream, decoded):
    with pytest.raises(DataError, match=r"The labels of lab, in the column cls, are int64.*--map 0=CLASS"):
        stream(tars, columns={"image": "png"})
    assert not decoded()


def test_wrong_class_names_are_an_error_also_where_all_is_decoded(parquet, stream):
    stream(parquet)
    with pytest.raises(DataError, match="names BAS"):
        stream(parquet, label_map={"BAS": "basophil"})


class TestHub:
    @pytest.fixture
    def repository(self, hub, repo_id, parquet):
        """A data set of three shards on the Hub."""
        HfApi().create_repo(repo_id, repo_type="dataset")
        push(repo_id, parquet)
        return repo_id

    def test_shards_are_streamed_and_decoded_once(self, hub, repository, stream, decoded, parquet, tmp_path):
        streamed, times = stream(repository, normalization=NORMALIZATION), decoded()
        assert same(streamed, loaded(parquet, tmp_path / "whole", normalization=NORMALIZATION))
        hub.log()
        stream(repository, normalization=NORMALIZATION)
        assert decoded() == times
        read = [call for call in hub.log() if "_lfs" in call["line"]]
        assert len(read) <= 1  # the columns, which are those of the first shard

    def test_a_shard_that_does_not_come_costs_none_of_the_others(self, hub, repository, stream, decoded):
        hub.fault({"match": r"GET .*train-00001\.parquet", "status": 403, "times": 1000})
        with pytest.raises(DataError, match=r"train-00001\.parquet"):
            stream(repository)
        times = decoded()
        hub.fault()
        HfFileSystem.clear_instance_cache()
        stream(repository)
        assert len(times) == 1
        assert times.items() < decoded().items()

    def test_a_commit_decodes_only_the_shards_that_it_changes(self, repository, stream, decoded, parquet):
        stream(repository)
        times = decoded()
        write_parquet(parquet / "train-00002.parquet", [30, 31])
        push(repository, parquet)
        assert stream(repository).table.files[8:] == ["30.png", "31.png"]
        assert len(times.items() & decoded().items()) == 2

    def test_without_a_connection_what_was_decoded_serves(self, repository, stream, caplog, monkeypatch):
        first = stream(repository)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert same(stream(repository), first)
        assert "the Hub cannot be reached, so the cells that were decoded before are used" in caplog.text
        with pytest.raises(DataError, match="cannot be loaded from the Hub"):
            stream(repository, split="train")  # was not asked for before

    def test_a_folder_of_a_data_set_by_its_address(self, repository, stream):
        assert len(stream(f"hf://datasets/{repository}/data")) == 12

    def test_images_are_loaded_as_a_folder(self, hub, repo_id, tmp_path):
        (tmp_path / "images" / "monocyte").mkdir(parents=True)
        Image.new("RGB", (6, 5)).save(tmp_path / "images" / "monocyte" / "1.png")
        HfApi().create_repo(repo_id, repo_type="dataset")
        HfApi().upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=tmp_path / "images")
        cache = ShardCache(tmp_path / "shards", SIZE)
        (dataset,) = load_domains([f"lab={repo_id}"], ReadingOptions(cache=cache))
        assert dataset["file"][:] == ["monocyte/1.png"]
        assert not cache.decoded


def push(repo_id, folder):
    """Makes a folder the content of ``data`` in a repository."""
    HfApi().upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder, path_in_repo="data")
    HfFileSystem.clear_instance_cache()
