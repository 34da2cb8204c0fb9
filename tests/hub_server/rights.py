"""Who asks, and what they may do: dependencies of the routes."""

from typing import Annotated

from fastapi import Depends, Request

from hub_server.errors import HubError
from hub_server.hub import Hub
from hub_server.storage import Repo
from hub_server.users import USERS, User


async def the_hub(request: Request) -> Hub:
    """The state of the server."""
    hub: Hub = request.app.state.hub
    return hub


TheHub = Annotated[Hub, Depends(the_hub)]


async def visitor(request: Request) -> User | None:
    """Who asks, if they say so."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if token and token not in USERS:
        raise HubError(401, "Invalid credentials in Authorization header")
    return USERS.get(token)


Visitor = Annotated[User | None, Depends(visitor)]


async def member(user: Visitor) -> User:
    """Who asks, and they must say so."""
    if user is None:
        raise HubError(401, "Invalid username or password.")
    return user


Member = Annotated[User, Depends(member)]


def visible(hub: Hub, user: User | None, kind: str, repo_id: str) -> Repo:
    """Returns a repository if it exists and the user may know that it does.

    Raises:
        HubError: If not; the answer is the same for both.
    """
    repo = hub.repo(kind, repo_id)
    if not repo.exists or (repo.meta.private and not is_own(repo, user)):
        raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
    return repo


def is_own(repo: Repo, user: User | None) -> bool:
    """Whether the repository belongs to the user or to an organisation of the user's."""
    return user is not None and user.belongs_to(repo.owner)


def check_writable(repo: Repo, user: User | None) -> None:
    """Raises `HubError` where the user may not change the repository."""
    if user is None:
        raise HubError(401, "Invalid username or password.")
    if not (is_own(repo, user) and user.may_write):
        raise HubError(403, f"You don't have the rights to write to {repo.id}")


def check_open(repo: Repo, user: User | None) -> None:
    """Raises `HubError` where the user has not been let through the repository's gate."""
    if repo.meta.gated and not is_own(repo, user):
        raise HubError(403 if user else 401, f"Access to {repo.id} is restricted.", "GatedRepo")


async def readable(request: Request, hub: TheHub, user: Visitor, repo_id: str) -> Repo:
    """The repository of the address; its description may be read."""
    return visible(hub, user, request.path_params.get("kind", "models"), repo_id)


Readable = Annotated[Repo, Depends(readable)]


async def downloadable(repo: Readable, user: Visitor) -> Repo:
    """The repository of the address; its files may be read."""
    check_open(repo, user)
    return repo


Downloadable = Annotated[Repo, Depends(downloadable)]


async def writable(repo: Readable, user: Visitor) -> Repo:
    """The repository of the address; it may be changed."""
    check_writable(repo, user)
    return repo


Writable = Annotated[Repo, Depends(writable)]
