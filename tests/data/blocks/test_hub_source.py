"""Data sets on the Hub are read where they lie, at one commit."""

import io

import pyarrow as pa
import pytest
from huggingface_hub import HfApi, HfFileSystem
from pyarrow import parquet

from bc_sam.data.blocks.plan import plan_blocks
from bc_sam.data.blocks.reading import read_block
from bc_sam.errors import DataError


@pytest.fixture
def repository(hub, repo_id):
    HfApi().create_repo(repo_id, repo_type="dataset")
    upload(repo_id, "cells/a.png", b"cell a")
    table = io.BytesIO()
    parquet.write_table(pa.table({"image": [b"cell b", b"cell c"]}), table)
    upload(repo_id, "data/train-0.parquet", table.getvalue())
    HfFileSystem.clear_instance_cache()
    return repo_id


def upload(repo_id, path, content):
    HfApi().upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo_id, repo_type="dataset")


def test_images_and_tables_are_read_without_a_download(repository):
    plan = plan_blocks([repository])
    found = {cell.cell_id: cell.content for block in plan.blocks for cell in read_block(block)}
    assert found == {
        "cells/a.png": b"cell a",
        "data/train-0.parquet[0]": b"cell b",
        "data/train-0.parquet[1]": b"cell c",
    }


def test_what_is_pushed_meanwhile_does_not_matter_and_changes_the_next_plan(repository):
    plan = plan_blocks([repository])
    upload(repository, "cells/a.png", b"another cell")
    HfFileSystem.clear_instance_cache()
    assert [cell.content for cell in read_block(plan.blocks[0])] == [b"cell a"]
    assert plan_blocks([repository]).fingerprint != plan.fingerprint


def test_a_data_set_that_is_not_there(hub):
    with pytest.raises(DataError, match="alice/nothing is not a local path, and: There is no folder alice/nothing"):
        plan_blocks(["alice/nothing"])
