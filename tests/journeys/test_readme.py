"""What the README and the pages in docs show works as written: code, its output, commands, options and links."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
from huggingface_hub import ModelCard

from bc_sam.cli.app import app

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / folder / "README.md" for folder in ("hub", "space", "benchmarks")]


def code_blocks(page, language):
    """The code blocks of one language on a page."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for marked, text in blocks if marked == language]


def commands(page):
    """Every command line in the code blocks of a page, as a list of words, continuation lines joined."""
    lines = "\n".join(code_blocks(page, "")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def option_names(words):
    return {word.partition("=")[0] for word in words if word.startswith("-")}


def anchors(page):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def repository_paths(page):
    """The paths of this repository in the inline code of a page, alone or as a word of a command."""
    words = " ".join(re.findall(r"`([^`\n]+)`", page.read_text())).split()
    return [word for word in words if re.match(r"(tests|bc_sam|hub|docs|benchmarks)/", word)]


class TestReadme:
    def test_fits_two_screens_with_one_picture(self):
        text = README.read_text()
        assert len(text.splitlines()) <= 200
        assert len(re.findall(r"!\[|<img ", text)) == 1

    def test_names_every_extra_that_can_be_installed(self):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        section = README.read_text().partition("## Installation")[2].partition("## Usage")[0]
        assert all(re.search(rf"\b{extra}\b", section) for extra in extras.keys() - {"dev"})

    @pytest.mark.parametrize("card", ["bc_sam/models/embedded/README.md", "model_card.md"])
    def test_says_of_the_installation_what_the_cards_say(self, card):
        for text in (README.read_text(), (ROOT / card).read_text()):
            assert "not on PyPI" in text
            assert re.search(r"from a clone of (its|this) repository", text, re.IGNORECASE)
        assert not re.search(r"pip install .?bc_sam", (ROOT / card).read_text())

    def test_first_example_prints_what_its_comments_say(self, capsys):
        example = code_blocks(README, "python")[0]
        exec(compile(example, "README.md", "exec"), {})
        assert capsys.readouterr().out.splitlines() == re.findall(r"^# (.+)", example, re.MULTILINE)

    def test_examples_run_in_order(self, hub, repo_id, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        names = {}
        for example in code_blocks(README, "python"):
            exec(compile(example.replace("OWNER/my-model", repo_id), "README.md", "exec"), names)
        assert (tmp_path / "my-model" / "config.json").exists()
        assert ModelCard.load(repo_id).data.library_name == "bc_sam"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPages:
    def test_name_commands_and_options_that_exist(self, page):
        known = typer.main.get_command(app).commands
        for words in commands(page):
            if "bc-sam" in words[0] or "bc_sam" in words:
                name, *rest = words[1:] if "bc-sam" in words[0] else words[words.index("bc_sam") + 1 :]
                shown = [parameter for parameter in known[name].params if not getattr(parameter, "hidden", False)]
                options = {option for parameter in shown for option in (*parameter.opts, *parameter.secondary_opts)}
                assert option_names(rest) <= options, f"bc-sam {name}"

    def test_name_scripts_and_options_that_exist(self, page):
        for words in commands(page):
            if words[0] == "python" and words[1].endswith(".py"):
                program = (ROOT / words[1]).read_text()
                assert all(f'"{option}"' in program for option in option_names(words[2:])), words

    def test_link_to_pages_and_headings_that_exist(self, page):
        for target in re.findall(r'(?:\]\(|src=")(?!https?:)([^)"\s]+)', page.read_text()):
            file, _, anchor = target.partition("#")
            linked = (page.parent / file).resolve() if file else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target

    def test_name_paths_of_the_repository_that_exist(self, page):
        for path in repository_paths(page):
            assert (ROOT / path).exists(), path

    def test_name_files_and_symbols_that_exist(self, page):
        files = [file for folder in ("bc_sam", "benchmarks", "hub", "tests") for file in (ROOT / folder).rglob("*.py")]
        paths = ["/" + file.relative_to(ROOT).as_posix() for file in files]
        text = page.read_text()
        for name in re.findall(r"`([\w/]+\.py)`", text):
            assert any(path.endswith(f"/{name}") for path in paths), name
        for symbol, name in re.findall(r"`(\w+)` in `([\w/]+\.py)`", text):
            assert symbol in (ROOT / "bc_sam" / name).read_text(), symbol
