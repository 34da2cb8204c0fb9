"""Inference on any number of cells, by any number of workers, that survives being interrupted; see docs/scale.md.

- `run_batch`: from a source of any size to a folder of Parquet files, in this process, on Ray or under Accelerate.
- `count`: the same for whole fields, whose white cells are found, named and counted.
- `predict`: further columns of a `datasets.Dataset` or a `ray.data.Dataset`.
- `CellPredictor`: a function on batches for any other engine, such as Spark or Dask.
"""

from typing import TYPE_CHECKING, Any

from bc_sam.utils.lazy_names import lazy_name

if TYPE_CHECKING:
    from bc_sam.models.batch.counting import count
    from bc_sam.models.batch.engines.base import Resources
    from bc_sam.models.batch.frames import predict
    from bc_sam.models.batch.output import Manifest
    from bc_sam.models.batch.predictor import CellPredictor
    from bc_sam.models.batch.run import run_batch
    from bc_sam.models.batch.settings import BatchSettings

__all__ = ["BatchSettings", "CellPredictor", "Manifest", "Resources", "count", "predict", "run_batch"]

_MODULES = {
    "BatchSettings": "settings",
    "CellPredictor": "predictor",
    "Manifest": "output",
    "Resources": "engines.base",
    "count": "counting",
    "predict": "frames",
    "run_batch": "run",
}


def __getattr__(name: str) -> Any:
    return lazy_name(__name__, _MODULES, name)
