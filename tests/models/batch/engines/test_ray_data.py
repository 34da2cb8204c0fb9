"""A pool of Ray actors gives the results of one process, also if one of them is killed.

Starting Ray takes half a minute on two busy cores, so these tests run if BC_SAM_SLOW_TESTS is set: ``make test-ray``.
"""

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest
import torch
from drawn_smear import draw_smear
from PIL import Image

from bc_sam.errors import BCSamError
from bc_sam.models.batch.engines.base import Resources
from bc_sam.models.batch.frames import predict
from bc_sam.models.batch.rows import Counts
from bc_sam.models.batch.run import run_batch

pytestmark = pytest.mark.skipif("BC_SAM_SLOW_TESTS" not in os.environ, reason="BC_SAM_SLOW_TESTS is not set")

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(num_cpus=2, log_to_driver=False)
    yield
    ray.shutdown()


@contextmanager
def one_thread():
    """Computes with one thread, as a worker with one core does: more round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def by_one_process(cells, settings, tmp_path_factory):
    """The results of one process with one thread."""
    out = tmp_path_factory.mktemp("one") / "out"
    with one_thread():
        run_batch(str(cells), out, settings)
    return out


def parts(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.glob("**/part-*.parquet"))}


def test_the_results_are_those_of_one_process(cells, settings, by_one_process, tmp_path):
    manifest = run_batch(str(cells), tmp_path / "out", settings, engine="ray", resources=Resources(workers=2))
    assert parts(tmp_path / "out") == parts(by_one_process)
    assert manifest.engine["workers"] == 2


def test_fields_are_counted_as_by_one_process(settings, tmp_path):
    source = tmp_path / "fields"
    source.mkdir()
    for seed in (1, 2, 3):
        smear = draw_smear(400, 60, 12, ((0.4, 0.5),), 104, seed=seed)
        Image.fromarray(smear).save(source / f"{seed}.png")
    asked = replace(settings, task="count", block_size=1)
    with one_thread():
        expected = run_batch(str(source), tmp_path / "one", asked)
    counted = run_batch(str(source), tmp_path / "two", asked, engine="ray", resources=Resources(workers=1))
    assert counted.counts == expected.counts == Counts(3, cells=3, fields=3)
    assert len(parts(tmp_path / "two")) == 6
    assert parts(tmp_path / "two") == parts(tmp_path / "one")


def test_the_block_of_a_killed_worker_is_repeated(cells, settings, by_one_process, tmp_path):
    killed = []

    def kill_one():
        while not killed:
            for process in psutil.Process().children(recursive=True):
                if process.name().startswith("ray::MapWorker"):
                    time.sleep(1)
                    process.kill()
                    killed.append(process.pid)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one)
    killer.start()
    run_batch(str(cells), tmp_path / "out", settings, engine="ray", resources=Resources(workers=1))
    killer.join()
    assert killed
    assert parts(tmp_path / "out") == parts(by_one_process)


def test_more_workers_than_the_cluster_has_room_for(cells, settings, tmp_path):
    with pytest.raises(BCSamError, match="9 workers with 1 CPU each need 9, but the cluster has 2"):
        run_batch(str(cells), tmp_path / "out", settings, engine="ray", resources=Resources(workers=9))


def test_a_data_set_of_ray_gets_the_columns(cells, settings):
    dataset = ray.data.from_items([{"image": path.read_bytes()} for path in sorted(cells.glob("*.png"))[:3]])
    rows = predict(dataset, settings).take_all()
    assert [len(row["embedding"]) for row in rows] == [6, 6, 6]
    assert all(row["error"] is None for row in rows)
