"""Authentication and permissions, as dependencies of the routes."""

from typing import Annotated

from fastapi import Depends, Request

from hub_server.errors import HubError
from hub_server.hub import Hub
from hub_server.storage import Repo
from hub_server.users import USERS, User


async def the_hub(request: Request) -> Hub:
    """Returns the state of the server."""
    hub: Hub = request.app.state.hub
    return hub


TheHub = Annotated[Hub, Depends(the_hub)]


async def visitor(request: Request) -> User | None:
    """Returns the authenticated user, or ``None``."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if token and token not in USERS:
        raise HubError(401, "Invalid credentials in Authorization header")
    return USERS.get(token)


Visitor = Annotated[User | None, Depends(visitor)]


async def member(user: Visitor) -> User:
    """Returns the authenticated user, who is required."""
    if user is None:
        raise HubError(401, "Invalid username or password.")
    return user


Member = Annotated[User, Depends(member)]


def visible(hub: Hub, user: User | None, kind: str, repo_id: str) -> Repo:
    """Returns a repository if it exists and is visible to the user.

    Raises:
        HubError: If not, with the same response in both cases.
    """
    repo = hub.repo(kind, repo_id)
    if not repo.exists or (repo.meta.private and not is_own(repo, user)):
        raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
    return repo


def is_own(repo: Repo, user: User | None) -> bool:
    """Whether the repository belongs to the user or one of their organizations."""
    return user is not None and user.belongs_to(repo.owner)


def check_writable(repo: Repo, user: User | None) -> None:
    """Raises `HubError` if the user may not write to the repository."""
    if user is None:
        raise HubError(401, "Invalid username or password.")
    if not (is_own(repo, user) and user.may_write):
        raise HubError(403, f"You don't have the rights to write to {repo.id}")


def check_open(repo: Repo, user: User | None) -> None:
    """Raises `HubError` if the repository is gated and the user has no access."""
    if repo.meta.gated and not is_own(repo, user):
        raise HubError(403 if user else 401, f"Access to {repo.id} is restricted.", "GatedRepo")


async def readable(request: Request, hub: TheHub, user: Visitor, repo_id: str) -> Repo:
    """Returns the requested repository, whose metadata the user may read."""
    return visible(hub, user, request.path_params.get("kind", "models"), repo_id)


Readable = Annotated[Repo, Depends(readable)]


async def downloadable(repo: Readable, user: Visitor) -> Repo:
    """Returns the requested repository, whose files the user may read."""
    check_open(repo, user)
    return repo


Downloadable = Annotated[Repo, Depends(downloadable)]


async def writable(repo: Readable, user: Visitor) -> Repo:
    """Returns the requested repository, which the user may write to."""
    check_writable(repo, user)
    return repo


Writable = Annotated[Repo, Depends(writable)]
