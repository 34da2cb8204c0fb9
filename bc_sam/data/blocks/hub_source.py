"""Data sets on the Hub as sources: read where they lie, at the commit of the moment when a job begins."""

from huggingface_hub import HfApi

from bc_sam.errors import DataError
from bc_sam.utils.hub import HUB_ERRORS, explain, with_retries


def hub_url(repo_id: str) -> str:
    """Returns the address of a data set on the Hub at its present commit, which fsspec reads without a download.

    Args:
        repo_id: Hub id, ``owner/name``.

    Raises:
        DataError: If there is no such data set, or the Hub cannot be reached.
    """
    try:
        info = with_retries(lambda: HfApi().dataset_info(repo_id))
    except HUB_ERRORS as error:
        raise DataError(f"{repo_id} is not a local path, and: {explain(error, repo_id)}") from error
    return f"hf://datasets/{repo_id}@{info.sha}"
