"""The command ``resume``."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import Token, use_token
from bc_sam.cli.runs import run_adaptation, run_experiment


@app.command(rich_help_panel="Training")
def resume(
    run: Annotated[Path, typer.Argument(help="Run folder of train or adapt.")],
    token: Token = None,
) -> None:
    """Resumes an interrupted run of train or adapt, with its original options.

    The resulting weights are byte-identical to those of an uninterrupted run.

    For example:

    bc-sam resume runs/mine
    """
    use_token(token)

    from bc_sam.training.adaptation import AdaptationConfig
    from bc_sam.training.experiment import Experiment

    if (run / "adaptation.json").exists():
        run_adaptation(run, AdaptationConfig.load(run / "adaptation.json"))
    else:
        run_experiment(run, Experiment.open(run).config)
