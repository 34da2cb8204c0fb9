import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bc_sam.errors import BCSamError
from bc_sam.networks import feature_store
from bc_sam.networks.feature_store import FeatureStore, missing_cells, remove_unfit_shards, write_shard

ENCODER, OTHER = "a" * 32, "b" * 32


def features_of(digests):
    """Features that encode the digest of their cell."""
    n = len(digests)
    values = np.asarray(digests, np.float64).reshape(n, 1, 1, 1)
    return {
        "maps": np.broadcast_to(values, (n, 2, 3, 3)).astype(np.float16),
        "masks": np.broadcast_to(values[..., 0] % 2 == 0, (n, 4, 4)).copy(),
        "targets": np.broadcast_to(values, (n, 4, 4, 3)).astype(np.uint8),
    }


def write(folder, digests, encoder=ENCODER):
    digests = np.array(digests, np.uint64)
    write_shard(folder, encoder, digests, features_of(digests))
    return digests


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_cell_gets_its_own_features_from_any_shard(tmp_path):
    write(tmp_path, [5, 3, 8])
    write(tmp_path, [1, 9])
    wanted = np.array([9, 3, 3, 1, 8], np.uint64)
    store = FeatureStore(tmp_path, wanted, ENCODER)
    for name, expected in features_of(wanted).items():
        stored = getattr(store, name)
        assert len(stored) == 5
        assert np.array_equal(stored[:], expected)
        assert stored[0].dtype == expected.dtype


def test_non_contiguous_arrays_are_stored_correctly(tmp_path):
    digests = np.array([3, 5], np.uint64)
    targets = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 3), np.uint8)
    channels_first = np.moveaxis(np.ascontiguousarray(np.moveaxis(targets, 3, 1)), 1, 3)
    write_shard(tmp_path, ENCODER, digests, features_of(digests) | {"targets": channels_first})
    assert not len(missing_cells(tmp_path, digests, ENCODER))
    assert np.array_equal(FeatureStore(tmp_path, digests, ENCODER).targets[:], targets)


@given(st.lists(st.integers(0, 7)), st.integers(0, 7), st.integers(0, 8), st.lists(st.booleans(), min_size=8))
def test_indexing_matches_numpy(tmp_path_factory, rows, row, stop, chosen):
    folder = tmp_path_factory.mktemp("shards")
    digests = np.concatenate([write(folder, [7, 1, 4]), write(folder, [2, 0, 9, 5, 6])])
    maps, expected = FeatureStore(folder, digests, ENCODER).maps, features_of(digests)["maps"]
    for index in (np.array(rows, int), row, slice(row, stop), np.array(chosen[:8])):
        assert np.array_equal(maps[index], expected[index])


def test_missing_cells_are_listed_once_per_duplicate(tmp_path):
    write(tmp_path, [5, 3])
    wanted = np.array([7, 5, 7, 2, 3], np.uint64)
    assert missing_cells(tmp_path, wanted, ENCODER).tolist() == [0, 3]
    with pytest.raises(BCSamError, match=re.escape(f"{tmp_path} lacks the features of 3 cells")):
        FeatureStore(tmp_path, wanted, ENCODER)


def test_all_cells_are_missing_from_an_absent_folder(tmp_path):
    assert missing_cells(tmp_path / "not yet", np.array([4, 2], np.uint64), ENCODER).tolist() == [0, 1]


def test_features_of_another_encoder_are_ignored_and_removed(tmp_path):
    digests = write(tmp_path, [5, 3], OTHER)
    assert len(missing_cells(tmp_path, digests, ENCODER)) == 2
    assert len(missing_cells(tmp_path, digests, OTHER)) == 0
    remove_unfit_shards(tmp_path, ENCODER)
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "no safetensors"])
def test_a_damaged_shard_is_removed_and_the_others_stay(tmp_path, caplog, damage):
    write(tmp_path, [1, 2])
    (good,) = files(tmp_path)
    write(tmp_path, [5, 3])
    (bad,) = set(files(tmp_path)) - {good}
    content = bytearray((tmp_path / bad).read_bytes())
    content[-7] ^= 4
    damaged = {"flipped": content, "cut": content[:-9], "emptied": b"", "no safetensors": b"\xff" * 500}[damage]
    (tmp_path / bad).write_bytes(damaged)
    remove_unfit_shards(tmp_path, ENCODER)
    assert files(tmp_path) == [good]
    assert bad in caplog.text


def test_a_partially_written_file_is_removed(tmp_path):
    write(tmp_path, [1])
    whole = files(tmp_path)
    (tmp_path / "x.part").write_bytes(b"half")
    remove_unfit_shards(tmp_path, ENCODER)
    assert files(tmp_path) == whole


def test_rewriting_the_same_cells_overwrites_their_file(tmp_path):
    write(tmp_path, [1, 2])
    before = files(tmp_path)
    write(tmp_path, [1, 2])
    assert files(tmp_path) == before


def test_the_same_features_have_the_same_bytes(tmp_path):
    contents = set()
    for _ in range(30):  # of two orders of metadata, each is as likely
        write(tmp_path, [1, 2])
        contents.add((tmp_path / files(tmp_path)[0]).read_bytes())
    assert len(contents) == 1


def test_shards_of_earlier_versions_are_still_read(tmp_path):
    write(tmp_path, [1, 2])
    (path,) = tmp_path.iterdir()
    with safe_open(path, "np") as file:
        encoder, checksum = file.metadata()["encoder"].split(" ")
    save_file(load_file(path), path, {"encoder": encoder, "crc32": checksum})
    remove_unfit_shards(tmp_path, ENCODER)
    assert len(missing_cells(tmp_path, np.array([1, 2], np.uint64), ENCODER)) == 0


def test_a_full_disk_is_an_error_that_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_store, "save_file", full)
    with pytest.raises(BCSamError, match=r"GiB free .*No space left.*Free disk space"):
        write(tmp_path, [1])
    assert files(tmp_path) == []


def test_the_key_identifies_the_cells_and_the_encoder(tmp_path):
    both = write(tmp_path, [1, 2])
    write(tmp_path, [1, 2], OTHER)
    keys = [FeatureStore(tmp_path, d, e).key for d in (both, both[:1]) for e in (ENCODER, OTHER)]
    assert len(set(keys)) == 4
    assert FeatureStore(tmp_path, both, ENCODER).key == keys[0]
