"""Which visitors' results are dropped first if there are too many or they are too large: those without work."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradio.state_holder import StateHolder

from bc_sam.space.server.settings import PageSettings


class KeepWork:
    """Middleware that lets Gradio drop empty sessions first; by itself it drops the least recently active.

    Args:
        app: The wrapped ASGI application.
        settings: Limits of the page.
    """

    def __init__(self, app: Any, settings: PageSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handles a request; the first one sets up the store of sessions."""
        gradio = scope.get("app")
        if gradio is not None and type(getattr(gradio, "state_holder", None)) is StateHolder:
            holder = WorkLast(self.settings.max_results_bytes)
            holder.set_blocks(gradio.get_blocks())
            gradio.state_holder = holder
        await self.app(scope, receive, send)


class WorkLast(StateHolder):
    """Gradio's store of sessions, from which those that hold the least work are dropped first.

    Args:
        max_bytes: Largest size of the pictures that all sessions keep, bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def update(self, session_id: str) -> None:
        """Marks a session as active, and drops another if there are too many."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            if len(self.session_data) > self.capacity:
                # The active one is last; of equals, `min` takes the first, which has been inactive for longest.
                self._drop(list(self.session_data)[:-1])
            while self.session_data and (large := self._too_large()):
                self._drop(large)

    def _drop(self, sessions: Sequence[str]) -> None:
        dropped = min(sessions, key=lambda session: work(self.session_data[session].state_data))
        del self.session_data[dropped]
        self.time_last_used.pop(dropped, None)

    def _too_large(self) -> list[str]:
        """Returns the sessions, except for the active one, that keep pictures, if all together are too large."""
        sizes = {session: size(state.state_data) for session, state in self.session_data.items()}
        if sum(sizes.values()) <= self.max_bytes:
            return []
        return [session for session in list(sizes)[:-1] if sizes[session]]


def size(values: Mapping[int, Any]) -> int:
    """Returns the size of the pictures that a session keeps, bytes.

    Args:
        values: The values of its `gr.State` components, by id.
    """
    return sum(getattr(value, "n_bytes", 0) for value in values.values())


def work(values: Mapping[int, Any]) -> int:
    """Returns how much work is in a session: 0 none, 1 results, 2 names given by hand.

    Args:
        values: The values of its `gr.State` components, by id.

    Example:
        >>> [work(values) for values in ({}, {1: "", 2: None}, {1: "owner/model", 2: object()})]
        [0, 0, 1]
    """
    held = [value for value in values.values() if value is not None and not isinstance(value, str)]
    return 2 if any(getattr(value, "hand", None) for value in held) else int(bool(held))
