"""Threads that change places as often as CPython lets them: what a torn read of shared state would show."""

from __future__ import annotations

import copy
import functools
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from weakref import WeakSet

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    Propagation,
    PropagationError,
    SessionAwareService,
    UnitRecord,
    after_commit,
    configure,
    describe,
    override_session_factory,
)
from session_aware._call import factory, lane, wrapper
from session_aware._unit import configuration
from session_aware._unit.configuration import Settings
from tests.services import Failure

THREADS = 4


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def maker_of(name: str) -> sessionmaker[Session]:
    """Make sessions that know whose they are, on a database of each thread's own."""
    return sessionmaker(create_engine("sqlite://"), info={"name": name})


def race(work: Callable[[int], object], *, against: Callable[[int], object], turns: int) -> None:
    """Run ``work`` in threads until ``against`` has had its turns; raise what any of them raises."""
    start, over = threading.Barrier(THREADS + 1), threading.Event()
    errors: list[BaseException] = []

    def worker() -> None:
        start.wait()
        try:
            for turn in itertools.count():
                work(turn)
                if over.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=worker) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    try:
        for turn in range(turns):
            against(turn)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


class Says(SessionAwareService):
    """Tells what it was given."""

    def factory_and_policy(self, *, session: Session = NEW_SESSION) -> tuple[str, bool]:
        return session.info["name"], session.info["session_aware"].is_read_only

    def factory(self, *, session: Session = NEW_SESSION) -> str:
        return str(session.info["name"])


def test_a_call_never_sees_half_of_a_configure() -> None:
    makers = maker_of("written to"), maker_of("read")

    def reconfigure(turn: int) -> None:
        configure(session_factory=makers[turn % 2], read_only=turn % 2 == 1)

    def call(_: int) -> None:
        assert Says().factory_and_policy() in {("written to", False), ("read", True)}

    reconfigure(0)
    race(call, against=reconfigure, turns=5_000)


def test_what_one_thread_configures_is_not_lost_to_another() -> None:
    def levels(turn: int) -> None:
        configure(isolation_level=f"level {turn}")

    def reads(turn: int) -> None:
        configure(read_only=turn % 2 == 1)
        assert configuration.settings.policy.read_only is (turn % 2 == 1)

    race(levels, against=reads, turns=8_000)


def test_an_override_is_seen_by_its_class_alone() -> None:
    configure(session_factory=maker_of("configured"))
    overriding = maker_of("overriding")

    def override(_: int) -> None:
        class Mine(Says):
            pass

        with override_session_factory(Mine, overriding):
            assert Mine().factory() == "overriding"
        assert Mine().factory() == "configured"

    def call(_: int) -> None:
        assert Says().factory() == "configured"

    race(override, against=call, turns=2_000)
    assert factory._overrides == {}


def test_configure_reaches_the_classes_that_other_threads_create() -> None:
    made: list[Any] = []

    def create(_: int) -> None:
        class Short(SessionAwareService, session_factory=sessionmaker()):
            def get(self, *, session: Session = NEW_SESSION) -> int:
                return 1

        made.append(Short)

    race(create, against=lambda _: configure(propagation=Propagation.REQUIRES_NEW), turns=200)
    for service in made:
        with pytest.raises(PropagationError):
            service().get(session=Session())


def test_classes_of_many_shapes_are_created_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "_LIMIT", 2)  # so that templates come and go

    def create(turn: int) -> None:
        names = [f"a{number}" for number in range(turn % 5)]
        namespace: dict[str, Any] = {}
        parameters = "".join(f"{name}, " for name in names)
        exec(f"def get(self, {parameters}*, session=None): return {parameters or '()'}", namespace)  # noqa: S102
        service: Any = type("Service", (SessionAwareService,), {"get": namespace["get"]})
        assert service().get(*names, session=Session()) == tuple(names)

    race(create, against=create, turns=500)


def test_classes_are_created_while_somebody_changes_their_bases() -> None:
    class Plain:
        pass

    class Last(SessionAwareService):
        @functools.singledispatchmethod
        def dispatched(self, x: object, *, session: Session = NEW_SESSION) -> None: ...

    class Service(Plain, Last):
        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    def change(turn: int) -> None:
        for cls in (Plain, Service):
            setattr(cls, f"_{turn}", 1)
            if turn > 100:
                delattr(cls, f"_{turn - 100}")

    def create(_: int) -> None:
        below: Any = type("Below", (Service,), {})
        assert below().get(session=Session()) == 1
        assert [one.name for one in describe(below).callables] == ["Below.dispatched", "Below.get"]
        type("Always", (Service,), {}, propagation=Propagation.NESTED)
        assert copy.deepcopy(below().dispatched).__name__ == "dispatched"

    race(create, against=change, turns=20_000)


def test_a_module_is_described_while_somebody_changes_it() -> None:
    module: Any = ModuleType("shop")
    exec("from session_aware import SessionAwareService\nclass Shop(SessionAwareService): ...", vars(module))  # noqa: S102

    def change(turn: int) -> None:
        setattr(module, f"_{turn}", 1)
        if turn > 1_000:
            delattr(module, f"_{turn - 1_000}")

    race(lambda _: describe(module), against=change, turns=20_000)


def in_time(work: Callable[[], object]) -> None:
    """Run something that must not wait for itself for ever."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def once(work: Callable[[], object]) -> Callable[[], None]:
    """Run something the first time, as the garbage collector runs a finalizer."""
    waiting = [work]

    def finalize() -> None:
        if waiting:
            waiting.pop()()

    return finalize


def test_a_finalizer_may_configure_while_somebody_configures(monkeypatch: pytest.MonkeyPatch) -> None:
    finalize = once(lambda: configure(read_only=True))

    def settings(*args: Any) -> Any:
        finalize()
        return Settings(*args)

    monkeypatch.setattr(configuration, "Settings", settings)
    in_time(lambda: configure(isolation_level="SERIALIZABLE"))
    policy = configuration.settings.policy
    assert (policy.read_only, policy.isolation_level) == (True, "SERIALIZABLE")


def create_a_class(**parameters: Any) -> None:
    """Create one whose lane has a text of its own."""
    namespace: dict[str, Any] = {}
    exec(f"def get(self, {''.join(f'{name}, ' for name in parameters)}*, session=None): ...", namespace)  # noqa: S102
    type("Service", (SessionAwareService,), {"get": namespace["get"]})


def test_a_finalizer_may_create_a_class_while_a_lane_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, finalize = lane._compiled, once(lambda: create_a_class(of_the_finalizer=1))

    def compile_(shape: Any) -> Any:
        finalize()
        return compiled(shape)

    monkeypatch.setattr(lane, "_compiled", compile_)
    in_time(lambda: create_a_class(of_the_thread=1))


def test_a_finalizer_may_configure_while_a_class_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    finalize = once(lambda: configure(propagation=Propagation.NESTED))

    class Finalizing(WeakSet[Any]):
        def add(self, item: Any) -> None:
            finalize()
            super().add(item)

    monkeypatch.setattr(wrapper, "_dispatchers", Finalizing())
    in_time(create_a_class)


def test_a_finalizer_may_change_a_class_while_one_is_created_or_described() -> None:
    class Service(SessionAwareService):
        @functools.singledispatchmethod
        def dispatched(self, x: object, *, session: Session = NEW_SESSION) -> None: ...

    module: Any = ModuleType("shop")
    exec("from session_aware import SessionAwareService\nclass Shop(SessionAwareService): ...", vars(module))  # noqa: S102
    for number in range(100):
        setattr(Service, f"attribute_{number}", number)
        setattr(module, f"attribute_{number}", number)
    names = [f"_{number}" for number in range(10)]
    turns = itertools.count()

    def finalize(_phase: str, _info: object) -> None:
        turn = next(turns)
        for changed in (Service, module):
            if turn % 20 < 10:
                setattr(changed, names[turn % 10], 1)
            else:
                delattr(changed, names[turn % 10])

    before = gc.get_threshold()
    pairs = [(number, number) for number in range(5_000)]  # without these, new pairs come from a free list
    gc.callbacks.append(finalize)
    gc.set_threshold(1)  # a collection at nearly every allocation, which Python 3.11 does on the spot
    try:
        for _ in range(20):
            below: Any = type("Below", (Service,), {}, propagation=Propagation.NESTED)
            assert [one.name for one in describe(below).callables] == ["Below.dispatched"]
            assert copy.deepcopy(below().dispatched).__name__ == "dispatched"
            describe(module)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(finalize)
    assert next(turns) > len(names) < len(pairs)


def test_callbacks_run_once_in_the_thread_that_commits_and_never_after_a_rollback() -> None:
    expected: list[tuple[int, int]] = []
    called: list[tuple[int, int]] = []
    records: list[UnitRecord] = []
    configure(session_factory=maker_of("configured"), observer=records.append)

    class Work(SessionAwareService):
        def run(self, key: tuple[int, int], *, session: Session = NEW_SESSION) -> None:
            after_commit(session, lambda: called.append((threading.get_ident(), key[1])))
            if key[1] % 3 == 0:
                raise Failure
            expected.append(key)

    def work(turn: int) -> None:
        try:
            Work().run((threading.get_ident(), turn))
        except Failure:
            assert turn % 3 == 0

    race(work, against=work, turns=500)
    assert sorted(called) == sorted(expected)
    assert len(called) == sum(record.outcome == "committed" for record in records)
