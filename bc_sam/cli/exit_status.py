"""The exit status of commands that go on after an unreadable image."""

import typer

#: Exit status if some images could not be read; typer ends with 2 if an option is wrong.
SOME_UNREADABLE = 3


def exit_by(n_errors: int, n_images: int, n_incomplete: int = 0) -> None:
    """Ends the command with status 1 if no image could be read, with 3 if some, or parts of some, could not be."""
    if n_errors or n_incomplete:
        raise typer.Exit(1 if n_errors == n_images else SOME_UNREADABLE)
