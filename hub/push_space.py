"""Publishes the Space with the package of this checkout: python hub/push_space.py MODEL OWNER/NAME."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from huggingface_hub import RepoCard

from bc_sam import BCSamError, __version__, load_model
from bc_sam.errors import ConfigError
from bc_sam.models.onnx_backend.files import exported_names
from bc_sam.models.upload import Repository
from bc_sam.utils.model_source import EMBEDDED_FOLDER, EMBEDDED_MODEL

ROOT = Path(__file__).parents[1]

#: What the Space also needs if torch computes its model.
TORCH_REQUIREMENTS = "requirements_torch.txt"

#: Files of the Space; a push deletes older files that match these patterns.
SPACE_FILES = ("README.md", "LICENSE", "app.py", "requirements.txt", "bc_sam/*", "bc_sam-*", "model/*")


def main() -> None:
    """Assembles the page, the package and the model, and pushes them in one commit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "model",
        help="model folder or run folder to include; Hub id to load from; or bc-sam-tiny, the model in the package",
    )
    parser.add_argument("repo_id", help="OWNER/NAME of the Space on the Hub; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a new Space private")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request")
    parser.add_argument(
        "--torch",
        action="store_true",
        help="install torch, for models without an export, for all classifiers, or for a GPU; by default ONNX Runtime "
        "computes, in a third of the memory",
    )
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help="only write the Space into this new folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.dry_run or Path(temporary)
        gather(folder, options.model, with_torch=options.torch)
        if options.dry_run is None:
            repository = Repository.open(
                options.repo_id, repo_type="space", private=options.private or None, create_pr=options.create_pr
            )
            print(repository.commit(folder, SPACE_FILES, "Upload the BC-SAM Space"))


def gather(folder: Path, source: str, *, with_torch: bool) -> None:
    """Assembles the files of the Space. The package is not on PyPI, so its source is included.

    Args:
        folder: An empty folder, or a new one.
        source: The model.
        with_torch: Whether the Space installs torch.

    Raises:
        ConfigError: If the Space needs torch for this model and does not install it.
        BCSamError: If the model does not load.
    """
    model = load_model(source)  # fail before publishing a page whose model does not load
    if not (with_torch or exported_names(model.config)):
        raise ConfigError(
            f"{source} has no export to ONNX, by which the Space computes. Export it: bc-sam export {source}; or give "
            "--torch."
        )
    ignored = shutil.ignore_patterns("__pycache__", TORCH_REQUIREMENTS)
    shutil.copytree(ROOT / "space", folder, ignore=ignored, dirs_exist_ok=True)
    if with_torch:
        with (folder / "requirements.txt").open("a") as file:
            file.write((ROOT / "space" / TORCH_REQUIREMENTS).read_text().partition("\n")[2])
    excluded = ("__pycache__",) if source == EMBEDDED_MODEL else ("__pycache__", EMBEDDED_FOLDER.name)
    shutil.copytree(ROOT / "bc_sam", folder / "bc_sam", ignore=shutil.ignore_patterns(*excluded))
    shutil.copy(ROOT / "LICENSE", folder)
    metadata = folder / f"bc_sam-{__version__}.dist-info" / "METADATA"  # the package reads its version from here
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: bc_sam\nVersion: {__version__}\n", encoding="utf-8")
    if Path(source).is_dir():
        model.save_pretrained(folder / "model")
    elif source != EMBEDDED_MODEL:
        card = RepoCard.load(folder / "README.md")
        card.data.models = [source]
        card.save(folder / "README.md")


if __name__ == "__main__":
    try:
        main()
    except BCSamError as error:
        sys.exit(f"error: {error}")
