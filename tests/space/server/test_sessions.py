"""Empty visits do not push out a slide, and least of all one with names that were given by hand."""

import httpx
import pytest

from bc_sam.space.page import build, launch_options
from bc_sam.space.server.sessions import WorkLast
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.slide_fields import SlideField
from bc_sam.space.views.slide_view import Slide

CAPACITY = 4
MAX_BYTES = 1000


@pytest.fixture
def served(model):
    """A page that keeps the results of four visitors."""
    settings = PageSettings(sessions=CAPACITY, max_results_bytes=MAX_BYTES)
    page = build(model, settings, "small-model")
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(settings))
    httpx.get(address)
    yield page
    page.close()


def slide(**hand):
    return Slide("small-model", ("monocyte",), hand={int(index[1:]): label for index, label in hand.items()})


def test_what_holds_work_is_dropped_last(served):
    sessions = served.app.state_holder
    assert isinstance(sessions, WorkLast)
    (state,) = [key for key, block in served.blocks.items() if block.stateful][1:2]
    for visitor, value in (("by hand", slide(_0="monocyte")), ("slide", slide()), ("empty", None)):
        sessions[visitor][state] = value
    for number in range(270):
        sessions[f"visit {number}"][state] = None
    assert {"by hand", "slide", "visit 269"} <= set(sessions.session_data)
    for number in range(CAPACITY):
        sessions[f"slide {number}"][state] = slide()
    assert "by hand" in sessions
    assert "slide" not in sessions
    for number in range(CAPACITY):
        sessions[f"by hand {number}"][state] = slide(_0="monocyte")
    assert set(sessions.session_data) == {f"by hand {number}" for number in range(CAPACITY)}
    assert set(sessions.time_last_used) == set(sessions.session_data)


def test_pictures_of_fields_push_out_others_when_they_are_too_large(served):
    sessions = served.app.state_holder
    (state,) = [key for key, block in served.blocks.items() if block.stateful][1:2]

    def visit(name, n_bytes, **hand):
        sessions[name][state] = slide(**hand)
        sessions[name][state].add_field(SlideField("smear.jpg", "", (9, 9), picture=bytes(n_bytes)))
        assert sessions[name]  # is active, and all are measured

    visit("by hand", MAX_BYTES // 2, _0="monocyte")
    visit("slide", MAX_BYTES // 4)
    visit("small", 0)
    visit("large", MAX_BYTES // 2)
    assert "slide" not in sessions
    assert {"by hand", "small", "large"} <= set(sessions.session_data)
    visit("larger than all", 2 * MAX_BYTES)  # is kept while it is active
    assert set(sessions.session_data) == {"small", "larger than all"}
