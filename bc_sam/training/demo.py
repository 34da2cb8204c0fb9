"""The demo: bc-sam-tiny's SAM learns two rendered laboratories, in a few minutes."""

from dataclasses import replace
from pathlib import Path

from bc_sam.config.presets import preset
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.training.experiment import RunConfig

#: Rendered cells per class and laboratory.
CELLS_PER_CLASS = 24

LABORATORIES = ("munich", "barcelona")

#: Seed of the new cells; the training cells have seed 0.
NEW_CELLS_SEED = 1


def demo_config() -> RunConfig:
    """Returns the config of the demo: the preset ``pretrained`` with fewer epochs and views."""
    pretrained = preset("pretrained")
    arguments = replace(
        pretrained,
        views=800,
        segmentation=replace(pretrained.segmentation, epochs=2, warmup_epochs=0),
        autoencoder=replace(pretrained.autoencoder, epochs=3),
    )
    data = tuple(f"{name}=rendered:{name}:{CELLS_PER_CLASS}" for name in LABORATORIES)
    return RunConfig(data=data, arguments=arguments)


def write_new_cells(folder: Path) -> Path:
    """Renders a few unseen cells as image files and returns their folder."""
    return write_rendered(folder, LABORATORIES, cells_per_class=1, seed=NEW_CELLS_SEED)
