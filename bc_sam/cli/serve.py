"""The command ``serve``."""

from typing import Annotated

import typer

from bc_sam.cli.app import app


@app.command(rich_help_panel="Cells")
def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="Model folder, run folder, or Hub id; by default the bundled one."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; by default a free one.")] = None,
) -> None:
    """Serves a web page on this computer that classifies cells.

    Drop in cells or a slide to get labels, counts and warnings. Images never
    leave this computer. Stop it with Ctrl-C.

    For example:

    bc-sam serve runs/mine --port 7860
    """
    from bc_sam.space.page import serve as serve_page
    from bc_sam.space.server.model_source import model_source

    serve_page(model or model_source(), server_port=port, inbrowser=True)
