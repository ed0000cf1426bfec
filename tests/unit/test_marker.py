"""``_marker``: which call is the body of which, without a database."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import warnings
from typing import Any

import pytest

from session_aware import NestedSessionWarning
from session_aware._marker import CURRENT, NO_MARKER, Marker


def factory() -> None: ...


def other_factory() -> None: ...


def current() -> Marker | None:
    place = CURRENT.get()
    return None if place is None else place.marker


def is_nested(of: object = factory) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Marker("Accounts.inner", of)
    return bool(caught)


def test_call_inside_a_body_of_the_same_factory_is_nested() -> None:
    with Marker("Accounts.outer", factory):
        assert is_nested()


def test_call_outside_of_any_body_is_not_nested() -> None:
    assert not is_nested()
    with Marker("Accounts.outer", factory):
        pass
    assert not is_nested()


def test_call_on_another_factory_is_not_nested() -> None:
    with Marker("Accounts.outer", factory):
        assert not is_nested(other_factory)


def test_factory_that_is_a_method_is_the_same_each_time_it_is_looked_up() -> None:
    class Tenant:
        def factory(self) -> None: ...

    tenant = Tenant()
    with Marker("Accounts.outer", tenant.factory):
        assert is_nested(tenant.factory)
        assert not is_nested(Tenant().factory)


def test_call_inside_a_unit_that_is_over_is_not_nested() -> None:
    marker = Marker("Accounts.outer", factory)
    with marker:
        marker.is_active = False
        assert not is_nested()


def test_body_inside_a_body_gives_the_outer_one_back() -> None:
    with Marker("Accounts.outer", factory):
        with Marker("Accounts.middle", other_factory):
            assert not is_nested()
        assert is_nested()


def test_stretch_that_ends_in_another_order_leaves_the_newer_one_current() -> None:
    def in_another_order() -> None:
        outer, inner = Marker("Accounts.outer", factory), Marker("Accounts.inner", other_factory)
        outer.__enter__()
        inner.__enter__()
        outer.__exit__()
        assert current() is inner

    contextvars.copy_context().run(in_another_order)


def test_marker_can_be_entered_again() -> None:
    marker = Marker("Accounts.outer", factory)
    for _ in range(3):
        with marker:
            assert is_nested()
        assert current() is None


def test_thread_with_a_copied_context_is_exempt() -> None:
    found: list[bool] = []
    with Marker("Accounts.outer", factory):
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(lambda: found.append(is_nested())))
        thread.start()
        thread.join()
    assert found == [False]


def test_child_task_is_exempt_and_an_awaited_coroutine_is_not() -> None:
    async def inner() -> bool:
        return is_nested()

    async def outer() -> tuple[bool, bool]:
        with Marker("Accounts.outer", factory):
            return await asyncio.create_task(inner()), await inner()

    assert asyncio.run(outer()) == (False, True)


def test_body_in_a_child_task_is_that_tasks_own() -> None:
    async def child(is_inside: asyncio.Event, may_end: asyncio.Event) -> bool:
        with Marker("Accounts.child", factory):
            is_inside.set()
            await may_end.wait()
            return is_nested()

    async def parent() -> tuple[bool, bool]:
        with Marker("Accounts.before", factory):
            pass  # from here on children copy a context that knows this task
        is_inside, may_end = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(child(is_inside, may_end))
        await is_inside.wait()
        found = is_nested()
        may_end.set()
        return found, await task

    assert asyncio.run(parent()) == (False, True)


def test_body_in_a_thread_with_a_copied_context_is_that_threads_own() -> None:
    with Marker("Accounts.before", factory):
        pass
    is_inside, may_end = threading.Event(), threading.Event()
    found: list[bool] = []

    def run() -> None:
        with Marker("Accounts.other", factory):
            is_inside.set()
            may_end.wait()
            found.append(is_nested())

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    is_inside.wait()
    found.append(is_nested())
    may_end.set()
    thread.join()
    assert found == [False, True]


def test_callback_of_the_loop_is_exempt() -> None:
    async def outer() -> bool:
        answer = asyncio.get_running_loop().create_future()
        with Marker("Accounts.outer", factory):
            asyncio.get_running_loop().call_soon(lambda: answer.set_result(is_nested()))
            return bool(await answer)

    assert asyncio.run(outer()) is False


def test_call_that_owns_nothing_leaves_no_mark() -> None:
    with NO_MARKER:
        assert current() is None
        assert not NO_MARKER.is_active


def test_warning_points_to_the_line_that_is_neither_ours_nor_plumbing() -> None:
    plumbing: dict[str, Any] = {"__name__": "contextlib", "Marker": Marker, "factory": factory}
    exec("def call():\n    Marker('Accounts.inner', factory)", plumbing)  # noqa: S102 - a frame of contextlib's
    with Marker("Accounts.outer", factory), pytest.warns(NestedSessionWarning) as caught:
        plumbing["call"]()  # the line that is meant
    assert caught[0].filename == __file__
    assert caught[0].lineno == test_warning_points_to_the_line_that_is_neither_ours_nor_plumbing.__code__.co_firstlineno + 4


def test_warning_points_somewhere_even_if_there_is_nothing_but_plumbing() -> None:
    caught: list[warnings.WarningMessage] = []

    def run() -> None:
        with warnings.catch_warnings(record=True) as inside:
            warnings.simplefilter("always")
            Marker("Accounts.inner", factory)
        caught.extend(inside)

    globals_of_plumbing = {"__name__": "wrapt", "run": run}
    with Marker("Accounts.outer", factory):
        exec("run()", globals_of_plumbing)  # noqa: S102 - a frame of wrapt's
    assert len(caught) == 1
