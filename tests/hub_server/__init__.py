"""A Hub on loopback: the real clients push to it and load from it, and no test needs a network.

It keeps models, data sets and Spaces on disk and answers the calls of `huggingface_hub` and of the libraries above it,
as far as this project makes them: not a single discussion, no repository that moves, no quota.

    storage.py      repositories on disk: objects, commits, refs
    users.py        who has which token               hub.py          what all routes share
    rights.py       who may read and write what       routing.py      the parts of an address
    errors.py       answers other than success        cards.py        the YAML of a README
    nodes.py        how files are described
    repositories.py make, describe, change, delete    revisions.py    branches, tags, history, trees
    commits.py      what goes into a commit           files.py        resolve, and the storage behind it (LFS)
    xet.py          the newer storage (Xet)           xet_format.py   how its uploads are packed
    faults.py       the log of calls, and failures on demand (fault.py)
    server.py       all of it as one application      __main__.py     the process
    running.py      starts and steers that process    environment.py  what a client's process must have set
    session.py      keeps a whole test session on loopback
"""
