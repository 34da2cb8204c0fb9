"""The command ``demo``."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.predict import predict
from bc_sam.cli.runs import run_experiment


@app.command(rich_help_panel="Training")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run, its report and the new cells.")] = Path("demo"),
) -> None:
    """Runs the whole pipeline on rendered cells, in a few minutes.

    It renders cells of two laboratories, trains a model on them, writes a
    report, and classifies new cells. It needs no data and no network.

    For example:

    bc-sam demo --out demo
    """
    from bc_sam.training.demo import demo_config, write_new_cells

    run, cells = out / "run", out / "new_cells"
    run_experiment(run, demo_config())
    if not cells.exists():
        write_new_cells(cells)
    for laboratory in sorted(path for path in cells.iterdir() if path.name != "masks"):
        # A model trained for minutes would abstain on nearly all of them.
        print(f"\nNew cells of {laboratory.name}, in one folder per class, named without abstention:")
        predict([str(laboratory)], model=str(run), abstain=False)
