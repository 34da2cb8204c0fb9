"""The command ``serve``."""

from typing import TYPE_CHECKING, Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import Backend, LocalFilesOnly, Revision, Subfolder, Token, use_token

if TYPE_CHECKING:
    from bc_sam.models.stored_model import LoadOptions


@app.command(rich_help_panel="Cells")
def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="Model folder, run folder, or Hub id; by default the bundled one."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; by default a free one.")] = None,
    backend: Backend = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Serves a web page on this computer that classifies cells.

    Drop in cells or a slide to get labels, counts and warnings. Images never
    leave this computer. Stop it with Ctrl-C.

    For example:

    bc-sam serve runs/mine --port 7860
    """
    from bc_sam.space.page import serve as serve_page
    from bc_sam.space.server.model_source import model_source

    use_token(token)
    loading: LoadOptions = {
        "backend": backend,
        "revision": revision,
        "subfolder": subfolder,
        "local_files_only": local_files_only,
    }
    serve_page(model or model_source(), loading, server_port=port, inbrowser=True)
