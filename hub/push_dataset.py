"""Publishes Matek-19 or Acevedo-20 as parquet with a card: python hub/push_dataset.py matek19 ZIP OWNER/NAME."""

import argparse
import sys
import tempfile
from pathlib import Path

from bc_sam.data import load_acevedo20, load_matek19
from bc_sam.data.dataset_repository import DATASET_FILES, write_dataset_repository
from bc_sam.data.datasets.acevedo import ACEVEDO20_CODES
from bc_sam.data.datasets.matek import MATEK19_CODES
from bc_sam.errors import BCSamError
from bc_sam.models.upload import Repository

DATASETS = {"matek19": (load_matek19, MATEK19_CODES), "acevedo20": (load_acevedo20, ACEVEDO20_CODES)}
CARDS = Path(__file__).parent


def main() -> None:
    """Writes the repository and pushes it, unless it is a dry run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=DATASETS, help="which data set")
    parser.add_argument("source", type=Path, help="folder of the data set, or the downloaded zip")
    parser.add_argument("repo_id", help="OWNER/NAME on the Hub; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to push to")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request")
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help="only write the repository into this new folder")
    options = parser.parse_args()
    load, codes = DATASETS[options.name]
    dataset = load(options.source)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.dry_run or Path(temporary)
        card = CARDS / f"{options.name}.md"
        print(write_dataset_repository(dataset, folder, card, repo_id=options.repo_id, codes=codes))
        if options.dry_run is None:
            repository = Repository.open(
                options.repo_id,
                repo_type="dataset",
                private=options.private or None,
                revision=options.revision,
                create_pr=options.create_pr,
            )
            print(repository.commit(folder, DATASET_FILES, f"Upload {options.name}"))


if __name__ == "__main__":
    try:
        main()
    except BCSamError as error:
        sys.exit(f"error: {error}")
