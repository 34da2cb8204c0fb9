"""The command line: ``bc-sam COMMAND``. Every command is a thin layer over the package."""

# Importing a file makes its commands known.
from bc_sam.cli import datasets, models, predict, train  # noqa: F401
from bc_sam.cli.app import run as main

__all__ = ["main"]
