"""Publishes a model and shows that it arrived whole: python hub/push_model.py runs/mine OWNER/NAME."""

import argparse
import sys
import tempfile

import numpy as np

from bc_sam import BCSam, BCSamError
from bc_sam.data import load_rendered


def main() -> None:
    """Pushes, loads what was pushed into an empty cache, and compares what the two say of a few rendered cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model folder or run folder")
    parser.add_argument("repo_id", help="OWNER/NAME on the Hub; made if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to push to")
    parser.add_argument("--create-pr", action="store_true", help="propose it as a pull request")
    parser.add_argument("--include-base", action="store_true", help="also push a base that is on the Hub already")
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
        pushed = BCSam.from_pretrained(options.repo_id, revision=revision, cache_dir=cache)
        difference = np.abs(pushed.predict_proba(cells) - model.predict_proba(cells)).max()
    print(f"Loaded again: probabilities differ by at most {difference:.1g}.")
    if difference > 1e-4:
        sys.exit("What was pushed is not what was trained. Take it down.")


if __name__ == "__main__":
    try:
        main()
    except BCSamError as error:
        sys.exit(f"error: {error}")
