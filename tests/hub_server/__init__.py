"""A Hub on loopback: the real clients push to it and load from it, and no test needs a network.

It keeps models, data sets and Spaces on disk and answers the calls of `huggingface_hub` and of the libraries above it,
as far as this project needs them: no discussions, no renaming of repositories, no quotas.

    storage.py      repositories on disk: objects, commits, refs
    users.py        users and tokens                  hub.py          shared state
    rights.py       permissions                       routing.py      path parameters
    errors.py       error responses                   cards.py        the YAML of a README
    nodes.py        descriptions of files
    repositories.py create, describe, change, delete    revisions.py    branches, tags, history, trees
    commits.py      commits                           files.py        resolve and LFS storage
    xet.py          Xet storage                       xet_format.py   the format of its uploads
    faults.py       request log and injected faults (fault.py)
    server.py       the application                   __main__.py     the process
    running.py      starts and controls the process   environment.py  environment of client processes
    session.py      keeps a whole test session on loopback
"""
