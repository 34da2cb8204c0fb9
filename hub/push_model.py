"""Publishes a model and verifies the upload: python hub/push_model.py runs/mine OWNER/NAME."""

import argparse
import sys
import tempfile

import numpy as np

from bc_sam import BCSam, BCSamError
from bc_sam.data import load_rendered


def main() -> None:
    """Pushes a model, downloads it into an empty cache, and compares the predictions of both on rendered cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model folder or run folder")
    parser.add_argument("repo_id", help="OWNER/NAME on the Hub; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to push to")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request")
    parser.add_argument("--include-base", action="store_true", help="include the base even if it is on the Hub")
    options = parser.parse_args()
    model = BCSam.from_pretrained(options.model)
    commit = model.push_to_hub(
        options.repo_id,
        private=options.private or None,
        revision=options.revision,
        create_pr=options.create_pr,
        include_base=options.include_base,
    )
    print(commit.pr_url or commit.commit_url)
    cells = [cell["image"] for cell in load_rendered("munich", cells_per_class=1)]
    with tempfile.TemporaryDirectory() as cache:
        revision = commit.pr_revision or commit.oid
        pushed = BCSam.from_pretrained(commit.repo_url.repo_id, revision=revision, cache_dir=cache)
        difference = np.abs(pushed.predict_proba(cells) - model.predict_proba(cells)).max()
    print(f"Downloaded and compared: probabilities differ by at most {difference:.1g}.")
    if difference > 1e-4:
        sys.exit("The pushed model differs from the local one. Take it down.")


if __name__ == "__main__":
    try:
        main()
    except BCSamError as error:
        sys.exit(f"error: {error}")
