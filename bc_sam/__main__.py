"""Lets ``python -m bc_sam`` and ``accelerate launch -m bc_sam`` run the command line."""

from bc_sam.cli import main

main()
