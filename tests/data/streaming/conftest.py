"""Data sets in shards of four drawn cells each."""

import pytest
from drawn_shards import write_parquet, write_tar


@pytest.fixture
def parquet(tmp_path):
    """A folder of three parquet shards of four cells each."""
    for number in range(3):
        write_parquet(tmp_path / "cells" / f"train-{number:05d}.parquet", range(4 * number, 4 * number + 4))
    return tmp_path / "cells"


@pytest.fixture
def tars(tmp_path):
    """A folder of two tars of four cells each."""
    for number in range(2):
        write_tar(tmp_path / "tars" / f"{number:05d}.tar", range(4 * number, 4 * number + 4))
    return tmp_path / "tars"
