"""Cross-laboratory classification of single blood cells: Segment Anything with LoRA, an autoencoder, a classifier.

Example:
    >>> from bc_sam import BCSam
    >>> model = BCSam.from_pretrained("runs/real")  # doctest: +SKIP
    >>> model.predict(["cell.tiff"])  # doctest: +SKIP
    ['monocyte']
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bc_sam.utils.after_import import after_import
from bc_sam.utils.lazy_names import lazy_name

if TYPE_CHECKING:
    import bc_sam.models.batch as batch
    from bc_sam.config.arguments import TrainingArguments
    from bc_sam.config.labels import LABELS
    from bc_sam.config.model import BCSamConfig
    from bc_sam.config.presets import preset
    from bc_sam.data import load_acevedo20, load_cells, load_folder, load_matek19, load_rendered
    from bc_sam.errors import BCSamError
    from bc_sam.evaluation.results import Evaluation
    from bc_sam.models.abstention import RejectionThresholds
    from bc_sam.models.auto import load_model
    from bc_sam.models.bc_sam import BCSam
    from bc_sam.models.prediction import Prediction
    from bc_sam.training.adaptation import Adaptation, AdaptationConfig
    from bc_sam.training.experiment import Experiment, RunConfig

__all__ = [
    "LABELS",
    "Adaptation",
    "AdaptationConfig",
    "BCSam",
    "BCSamConfig",
    "BCSamError",
    "Evaluation",
    "Experiment",
    "Prediction",
    "RejectionThresholds",
    "RunConfig",
    "TrainingArguments",
    "batch",
    "load_acevedo20",
    "load_cells",
    "load_folder",
    "load_matek19",
    "load_model",
    "load_rendered",
    "preset",
]

__version__ = version("bc_sam")

# Module of each public name, imported on first use so that `import bc_sam` does not load torch.
_MODULES = {
    "LABELS": "config.labels",
    "Adaptation": "training.adaptation",
    "AdaptationConfig": "training.adaptation",
    "BCSam": "models.bc_sam",
    "BCSamConfig": "config.model",
    "BCSamError": "errors",
    "Evaluation": "evaluation.results",
    "Experiment": "training.experiment",
    "Prediction": "models.prediction",
    "RejectionThresholds": "models.abstention",
    "RunConfig": "training.experiment",
    "TrainingArguments": "config.arguments",
    "load_acevedo20": "data",
    "load_cells": "data",
    "load_folder": "data",
    "load_matek19": "data",
    "load_model": "models.auto",
    "load_rendered": "data",
    "preset": "config.presets",
}

# What transformers' Auto classes have to know about our models, registered when they are imported: transformers itself
# would make `import bc_sam` slow.
for _auto, _class in (("configuration", "config"), ("modeling", "model"), ("image_processing", "image_processor")):
    after_import(f"transformers.models.auto.{_auto}_auto", f"bc_sam.models.auto_classes.{_class}:register")


def __getattr__(name: str) -> Any:
    if name == "batch":  # a room of its own would be the 15th entry of the package
        return import_module("bc_sam.models.batch")
    return lazy_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
