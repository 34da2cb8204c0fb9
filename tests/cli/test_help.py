"""Help texts fit a terminal of 80 columns, and every example is a valid command line."""

import re
import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bc_sam.cli import app as _registered  # noqa: F401  importing the package registers the commands
from bc_sam.cli.app import app

COMMANDS = get_command(app).commands

#: Commands of training and data; those of cells and models have tests of their own.
TRAINING = ("train", "adapt", "fit", "resume", "evaluate", "compare", "demo", "serve", "data", "render")

training_commands = pytest.mark.parametrize("name", TRAINING)


def help_of(*command):
    result = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_text_is_truncated(name):
    assert "…" not in help_of(name)


def test_the_command_list_is_not_truncated():
    text = help_of()
    assert "…" not in text
    assert all(name in text for name in COMMANDS)


@training_commands
def test_there_is_one_example(name):
    assert help_of(name).count("For example:") == 1


@training_commands
def test_the_example_is_a_valid_command_line(name):
    """Parsing runs no command, but fails on unknown or missing options."""
    example = COMMANDS[name].help.partition("For example:")[2].replace("\\\n", " ")
    program, command, *arguments = shlex.split(example)
    assert (program, command) == ("bc-sam", name)
    context = COMMANDS[name].make_context(name, arguments)
    assert context.params


@training_commands
def test_the_first_line_fits_a_terminal(name):
    assert len(COMMANDS[name].help.splitlines()[0]) <= 80


def test_former_spellings_are_hidden():
    shown = help_of("train") + help_of("demo") + help_of("evaluate")
    for option in ("--from", "--resume", "--among", "--labels-per-class", "--learn-from", "--serve", "--port"):
        assert not re.search(rf"{option}\b(?!-)", shown), option
