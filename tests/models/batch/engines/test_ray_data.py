"""A pool of Ray actors gives the results of one process, also if one of them is killed.

Starting Ray takes half a minute on two busy cores, so these tests run if BC_SAM_SLOW_TESTS is set.
"""

import os
import threading
import time

import psutil
import pytest

from bc_sam.errors import BCSamError
from bc_sam.models.batch.engines.base import Resources
from bc_sam.models.batch.frames import predict
from bc_sam.models.batch.run import run_batch

pytestmark = pytest.mark.skipif("BC_SAM_SLOW_TESTS" not in os.environ, reason="BC_SAM_SLOW_TESTS is not set")

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(num_cpus=2, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def by_one_process(cells, settings, tmp_path_factory):
    """The results of one process with one thread, as a worker with one core has: more threads round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("one") / "out"
    run_batch(str(cells), out, settings)
    torch.set_num_threads(before)
    return out


def parts(out):
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def test_the_results_are_those_of_one_process(cells, settings, by_one_process, tmp_path):
    manifest = run_batch(str(cells), tmp_path / "out", settings, engine="ray", resources=Resources(workers=2))
    assert parts(tmp_path / "out") == parts(by_one_process)
    assert manifest.engine["workers"] == 2


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
