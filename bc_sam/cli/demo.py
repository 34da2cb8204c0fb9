"""The command ``demo``."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.runs import run_experiment

if TYPE_CHECKING:
    from bc_sam.models.base import CellModel


@app.command(rich_help_panel="Training")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run, its report and the new cells.")] = Path("demo"),
) -> None:
    """Runs the whole pipeline on rendered cells, in a few minutes.

    It renders cells of two laboratories, fine-tunes the SAM of bc-sam-tiny
    on them, trains the autoencoder and the classifiers, writes a report,
    and names new cells. It needs no data and no network.

    For example:

    bc-sam demo --out demo
    """
    from bc_sam.models.auto import load_model
    from bc_sam.training.demo import LABORATORIES, demo_config, write_new_cells

    start = time.perf_counter()
    run, cells = out / "run", out / "new_cells"
    run_experiment(run, demo_config())
    if not cells.exists():
        write_new_cells(cells)
    model = load_model(run, classifiers=["default"])
    correct = {name: _name_new_cells(model, cells / name) for name in LABORATORIES}
    n_correct, n_cells = (sum(counts) for counts in zip(*correct.values(), strict=True))
    each = ", ".join(f"{right} of {n} from {name}" for name, (right, n) in correct.items())
    minutes = (time.perf_counter() - start) / 60
    print(f"\nNamed correctly: {n_correct} of {n_cells} new cells ({each}).")
    print(
        f"In {minutes:.1f} min: rendered two laboratories, fine-tuned SAM with LoRA on their masks, trained the "
        "autoencoder\nand six classifiers, and tested them on a held-out fifth, within and across the laboratories."
    )
    command = shlex.quote(sys.argv[0]) if sys.argv[0].endswith("bc-sam") else "bc-sam"  # maybe not on the PATH
    print(
        f"\nNext:\n  {command} predict {cells / LABORATORIES[0]} --model {run}    name the cells of one laboratory\n"
        f"  {command} serve {run}    open the page in a browser\n"
        f"  {command} adapt bc-sam-tiny --data ours=FOLDER --out runs/ours    adapt to your laboratory"
    )


def _name_new_cells(model: "CellModel", folder: Path) -> tuple[int, int]:
    """Names and prints the cells of a laboratory, in one folder per class; returns how many are correct, of how many.

    Abstention is off, since all of them show a cell of a known class.
    """
    from bc_sam.cli.output import describe
    from bc_sam.data.images import find_images

    print(f"\nNew cells of {folder.name}, in one folder per class:")
    files, correct = find_images(folder), 0
    for file, prediction in zip(files, model.stream(files), strict=True):
        print(describe(str(file), prediction, model.labels))
        correct += prediction.label == file.parent.name
    return correct, len(files)
