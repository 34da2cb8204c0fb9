"""The command status: what is known of a job of ``--engine`` from its folder."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.utils.display import printable


@app.command(rich_help_panel="Cells")
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results: the --out of the job.")],
) -> None:
    """Says how far a job of predict, embed or count --engine has come.

    It only reads the folder, so it works beside the job, and on any machine
    that sees it.

    For example:

    bc-sam status results/
    """
    from bc_sam.models.batch.status import Status

    for line in Status.of(folder).lines():
        print(printable(line))
