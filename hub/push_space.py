"""Publishes the Space, with the package as it is here: python hub/push_space.py OWNER/NAME --model OWNER/MODEL."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bc_sam.publish import Repository

ROOT = Path(__file__).parents[1]

#: The files of the Space; a push removes older ones of these names.
SPACE_FILES = ("README.md", "app.py", "requirements.txt", "*.whl", "model/*")


def main() -> None:
    """Gathers the page, a wheel of the package and, if asked, a model, and pushes them in one commit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repo_id", help="OWNER/NAME on the Hub; made if it does not exist")
    parser.add_argument("--model", type=Path, help="model folder to put into the Space")
    parser.add_argument("--private", action="store_true", help="make a new Space private")
    parser.add_argument("--create-pr", action="store_true", help="propose it as a pull request")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gather(folder, options.model)
        repository = Repository.open(
            options.repo_id, repo_type="space", private=options.private or None, create_pr=options.create_pr
        )
        print(repository.commit(folder, SPACE_FILES, "Upload the BC-SAM Space"))


def gather(folder: Path, model: Path | None) -> None:
    """Puts together what the Space needs: it has no index to install the package from."""
    for name in ("README.md", "app.py", "requirements.txt"):
        shutil.copy(ROOT / "space" / name, folder)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    if model is not None:
        shutil.copytree(model, folder / "model")


if __name__ == "__main__":
    main()
