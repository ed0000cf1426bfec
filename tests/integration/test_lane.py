"""What stands in front of plain functions: it must behave as the function itself does, with and without a session."""

from __future__ import annotations

import asyncio
import bdb
import contextlib
import copy
import functools
import gc
import inspect
import linecache
import os
import pickle
import subprocess
import sys
import threading
import traceback
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    Propagation,
    PropagationError,
    SessionAwareService,
    auto_session_func,
    configure,
)
from session_aware._call import lane, wrapper

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

engine = create_engine("sqlite://")
maker = sessionmaker(engine)
async_maker = async_sessionmaker(create_async_engine("sqlite+aiosqlite://"))  # never connected
GIVEN = Session()
has_lane = pytest.mark.skipif(not lane.IS_ON, reason="the lane is switched off by SESSION_AWARE_LANE=off")


class Words(SessionAwareService, session_factory=maker, async_session_factory=async_maker):
    def say(self, first: str, second: str = "b", *, session: Session = NEW_SESSION, end: str = ".") -> str:
        assert isinstance(session, Session)
        return first + second + end

    @classmethod
    def of_class(cls, first: str, *, session: Session = NEW_SESSION) -> tuple[type, str]:
        return cls, first

    @staticmethod
    def of_nobody(first: str, *, session: Session = NEW_SESSION) -> str:
        return first

    async def later(self, first: str, *, session: Any = NEW_SESSION) -> str:
        return first

    async def astream(self, count: int, *, session: Any = NEW_SESSION) -> AsyncGenerator[int]:
        yield count

    @contextlib.contextmanager
    def held(self, first: str, *, session: Session = NEW_SESSION) -> Iterator[str]:
        yield first

    @contextlib.asynccontextmanager
    async def aheld(self, first: str, *, session: Any = NEW_SESSION) -> AsyncGenerator[str]:
        yield first

    def stream(self, count: int, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield from range(count)

    def required(self, first: str, *, session: Session) -> str:
        assert isinstance(session, Session)
        return first

    def fails(self, *, session: Session = NEW_SESSION) -> None:
        raise LookupError

    def __mangled(self, *, __secret: int, session: Session = NEW_SESSION) -> int:
        return __secret


@has_lane
@pytest.mark.parametrize(
    "name", ["say", "of_class", "of_nobody", "later", "stream", "astream", "held", "aheld", "required", "fails"]
)
def test_plain_functions_have_a_lane(name: str) -> None:
    value = vars(Words)[name]
    assert lane.is_lane(getattr(value, "__func__", value))


def test_positional_only_args_and_kwargs_arrive() -> None:
    class Odd(SessionAwareService, session_factory=maker):
        def take(self, a: int, /, b: int = 2, *more: int, session: Session = NEW_SESSION, c: int = 3, **rest: int) -> Any:
            return a, b, more, c, rest, session is GIVEN

    assert Odd().take(1, 5, 6, 7, c=8, d=9, session=GIVEN) == (1, 5, (6, 7), 8, {"d": 9}, True)
    assert Odd().take(1, 5, 6, 7, c=8, d=9) == (1, 5, (6, 7), 8, {"d": 9}, False)
    assert Odd().take(1, a=4, session=GIVEN) == (1, 2, (), 3, {"a": 4}, True)


def test_parameters_may_be_called_like_the_lanes_own_names() -> None:
    class Clash(SessionAwareService, session_factory=maker):
        def run(
            self,
            ask: int,
            method: int,
            new_session: int,
            asks_always: int,
            *,
            session: Session = NEW_SESSION,
            owner: int = 5,
        ) -> Any:
            return ask, method, new_session, asks_always, owner

        @staticmethod
        def static(owner: int, ask: int, *, session: Session = NEW_SESSION) -> Any:
            return owner, ask

    assert Clash().run(1, 2, 3, 4) == Clash().run(1, 2, 3, 4, session=GIVEN) == (1, 2, 3, 4, 5)
    assert Clash.static(1, 2) == Clash.static(owner=1, ask=2, session=GIVEN) == (1, 2)


def test_name_mangled_parameters_arrive() -> None:
    words: Any = Words()
    assert words._Words__mangled(_Words__secret=7) == words._Words__mangled(_Words__secret=7, session=GIVEN) == 7


def test_method_without_a_place_for_its_object_stays_as_useless_as_it_is() -> None:
    class Odd(SessionAwareService, session_factory=maker):
        def nobody(*, session: Session = NEW_SESSION) -> str:  # type: ignore[misc] # the point
            return "called"

    odd: Any = Odd
    assert odd.nobody(session=GIVEN) == "called"
    with pytest.raises(TypeError, match=r"takes 0 positional arguments but 1"):
        odd().nobody(session=GIVEN)


def test_defaults_are_the_same_objects() -> None:
    default: list[int] = []

    class Kept(SessionAwareService, session_factory=maker):
        def get(self, a: list[int] = default, *, session: Session = NEW_SESSION, b: list[int] = default) -> Any:
            return a, b

    for a, b in (Kept().get(), Kept().get(session=GIVEN)):
        assert a is default
        assert b is default


def test_required_session_is_injected_and_stays_required_in_the_signature() -> None:
    assert Words().required("a") == Words().required("a", session=GIVEN) == "a"  # type: ignore[call-arg]
    assert inspect.signature(Words.required).parameters["session"].default is inspect.Parameter.empty


@has_lane
@pytest.mark.parametrize("session", [{}, {"session": GIVEN}, {"session": None}])
@pytest.mark.parametrize("name", ["later", "stream", "astream", "held", "aheld"])
def test_wrong_arguments_are_found_before_a_session_is_opened(name: str, session: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=rf"^Words\.{name}\(\) missing 1 required positional argument: '(first|count)'$"):
        getattr(Words(), name)(**session)


def test_coroutines_and_generators_are_named_for_their_methods() -> None:
    words = Words()
    for given in ({}, {"session": GIVEN}):
        made: list[Any] = [words.later("a", **given), words.stream(1, **given), words.astream(1, **given)]
        assert [one.__qualname__ for one in made] == ["Words.later", "Words.stream", "Words.astream"]
        assert [one.__name__ for one in made] == ["later", "stream", "astream"]
        made[0].close()


@pytest.mark.parametrize("session", [{}, {"session": GIVEN}, {"session": None}])
def test_wrong_arguments_name_the_method(session: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^Words\.say\(\) missing 1 required positional argument: 'first'$"):
        Words().say(**session)
    with pytest.raises(TypeError, match=r"^Words\.say\(\) got an unexpected keyword argument 'nope'"):
        Words().say("a", nope=1, **session)  # type: ignore[call-arg]


@has_lane
def test_traceback_has_one_frame_of_ours_and_shows_the_line_of_the_method() -> None:
    class Fresh(SessionAwareService):  # its lane has not been told to ask always by a configure() of another test
        def fails(self, *, session: Session = NEW_SESSION) -> None:
            raise LookupError

    with pytest.raises(LookupError) as caught:
        Fresh().fails(session=GIVEN)
    frames = traceback.extract_tb(caught.tb)
    assert [frame.name for frame in frames[1:]] == ["fails", "fails"]
    assert {frame.filename for frame in frames} == {__file__}
    assert [frame.line for frame in frames[1:]] == [
        "def fails(self, *, session: Session = NEW_SESSION) -> None:",
        "raise LookupError",
    ]
    assert "^" not in "".join(traceback.format_list(frames[1:2]))  # which would point somewhere into the line


def test_kinds_and_sources_are_those_of_the_method() -> None:
    assert inspect.iscoroutinefunction(Words.later)
    assert inspect.iscoroutinefunction(Words().later)
    assert inspect.isgeneratorfunction(Words.stream)
    assert inspect.isasyncgenfunction(Words.astream)
    assert inspect.getfile(Words.say) == __file__
    assert not inspect.iscoroutinefunction(Words.say)
    assert inspect.getsource(Words.say).lstrip().startswith("def say")
    assert str(inspect.signature(Words().of_nobody)) == "(first: 'str', *, session: 'Session' = NEW_SESSION) -> 'str'"
    assert str(inspect.signature(Words.of_nobody)) == "(first: 'str', *, session: 'Session' = NEW_SESSION) -> 'str'"
    assert (
        str(inspect.signature(Words.of_class)) == "(first: 'str', *, session: 'Session' = NEW_SESSION) -> 'tuple[type, str]'"
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_functions_and_bound_methods_are_pickled_and_copied(protocol: int) -> None:
    words = Words()
    for bound in (words.say, Words.say, Words.of_class, Words.of_nobody, words.of_nobody):
        again = pickle.loads(pickle.dumps(bound, protocol))
        assert again.__name__ == bound.__name__
        assert callable(copy.deepcopy(bound))
        assert callable(copy.copy(bound))
    assert pickle.loads(pickle.dumps(words.say, protocol))("a") == "ab."
    assert pickle.loads(pickle.dumps(module_level, protocol)) is module_level
    assert copy.deepcopy(module_level) is module_level
    copied: Any = copy.deepcopy(words.say)
    assert copied.__self__ is not words


@auto_session_func(session_factory=maker)
def module_level(word: str, *, session: Session = NEW_SESSION) -> str:
    return word


def declaring(function: Any) -> Any:
    """Decorate with a wrapper that declares its signature itself."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    cast("Any", wrapper).__signature__ = inspect.signature(function)
    return wrapper


def bare(function: Any) -> Any:
    """Decorate with a wrapper that tells of nothing but what it wraps."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    cast("Any", wrapper).__wrapped__ = function
    return wrapper


@pytest.mark.parametrize("decorator", [declaring, bare])
def test_static_method_beneath_a_decorator_has_the_signature_of_a_plain_one(decorator: Any) -> None:
    def made(base: type) -> Any:
        class Made(base):  # type: ignore[misc]
            @staticmethod
            @decorator  # type: ignore[untyped-decorator]
            def static(cls: int, /, owner: str, *, session: Session = NEW_SESSION) -> str:  # noqa: PLW0211 - any name
                return owner

        return Made

    service, plain = made(SessionAwareService), made(object)
    assert inspect.signature(service.static) == inspect.signature(plain.static)
    assert inspect.signature(service().static) == inspect.signature(plain().static)
    assert service.static(1, "ann", session=GIVEN) == "ann"


def test_static_and_class_methods_know_the_class_they_were_reached_through() -> None:
    class Other(Words, session_factory=sessionmaker(engine, info={"who": "other"})):
        pass

    class Asks(Words):
        @staticmethod
        def who(*, session: Session = NEW_SESSION) -> Any:
            return session.info.get("who")

    class AsksOther(Asks, Other):
        @classmethod
        def via_super(cls) -> Any:
            return super().who()

    assert Asks.who() is None
    assert AsksOther.who() == AsksOther().who() == AsksOther.via_super() == "other"
    assert Other.of_class("a")[0] is Other


def test_dataclass_with_slots_keeps_keywords_and_wraps_once() -> None:
    @dataclass(slots=True)
    class Built(SessionAwareService, session_factory=maker, propagation=Propagation.REQUIRES_NEW):
        x: int = 1

        def get(self, *, session: Session = NEW_SESSION) -> int:
            return self.x

    assert Built(3).get() == 3
    with pytest.raises(PropagationError):
        Built(3).get(session=GIVEN)


def test_patches_of_the_base_reach_subclasses() -> None:
    class Derived(Words):
        pass

    with mock.patch.object(Words, "say", lambda self, first, **_: "patched " + first):
        assert Derived().say("a") == Derived().say("a", session=GIVEN) == "patched a"
    with mock.patch.object(Words, "of_nobody", staticmethod(lambda first, **_: "patched " + first)):
        assert Derived.of_nobody("a") == "patched a"
    assert Derived().say("a") == "ab."
    autospec = mock.create_autospec(Words)
    autospec.of_nobody("a", session=GIVEN)
    with pytest.raises(TypeError):
        autospec.of_nobody("a", "b")


def test_policies_of_a_subclass_and_of_configure_reach_calls_with_a_session() -> None:
    class Base(SessionAwareService, session_factory=maker):
        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    assert Base().get(session=GIVEN) == 1

    class Strict(Base, propagation=Propagation.REQUIRES_NEW):
        pass

    assert Base().get(session=GIVEN) == 1
    with pytest.raises(PropagationError):
        Strict().get(session=GIVEN)

    class Plain(SessionAwareService, session_factory=maker):
        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    configure(propagation=Propagation.REQUIRES_NEW)
    try:
        with pytest.raises(PropagationError):
            Plain().get(session=GIVEN)
        with pytest.raises(PropagationError):
            module_level("a", session=GIVEN)
    finally:
        configure(propagation=None)
    assert Plain().get(session=GIVEN) == 1


@has_lane
def test_class_that_is_created_while_configure_runs_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    make = lane._made

    def configured_meanwhile(*args: Any) -> Any:
        configure(propagation=Propagation.REQUIRES_NEW)
        return make(*args)

    monkeypatch.setattr(lane, "_made", configured_meanwhile)

    class Short(SessionAwareService, session_factory=maker):
        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    with pytest.raises(PropagationError):
        Short().get(session=GIVEN)


def test_classes_stay_collectable() -> None:
    alive: weakref.WeakSet[type] = weakref.WeakSet()

    def make() -> None:
        class Short(SessionAwareService, session_factory=maker):
            def get(self, *, session: Session = NEW_SESSION) -> int:
                return 1

            @staticmethod
            def static(*, session: Session = NEW_SESSION) -> int:
                return 1

        assert Short().get() == Short.static() == 1
        alive.add(Short)

    def sizes() -> tuple[int, ...]:
        gc.collect()
        return len(lane._templates), len(wrapper._dispatchers), len(alive)

    make()
    before = sizes()
    for _ in range(200):
        make()
    assert sizes() == before


def test_body_that_ignores_its_close_is_told_as_by_python() -> None:
    class Stubborn(SessionAwareService, session_factory=maker):
        def stream(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
            with contextlib.suppress(GeneratorExit):
                yield 1
            yield 2

    for given in ({}, {"session": GIVEN}):
        stream: Any = Stubborn().stream(**given)
        assert next(stream) == 1
        with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
            stream.close()


def test_what_calls_with_async_generators_and_generators_return_is_the_bodys() -> None:
    class Streams(SessionAwareService, session_factory=maker, async_session_factory=async_maker):
        def stream(self, *, session: Session = NEW_SESSION) -> Generator[int, None, str]:
            try:
                yield 1
            except GeneratorExit:
                return "closed"
            return "over"

        async def astream(self, *, session: Any = NEW_SESSION) -> AsyncGenerator[int, str]:
            sent = yield 1
            try:
                yield len(sent)
            except LookupError:
                yield 7

    async def consume(stream: Any) -> list[int]:
        return [await anext(stream), await stream.asend("four"), await stream.athrow(LookupError())]

    for given in ({}, {"session": GIVEN}):
        stream: Any = Streams().stream(**given)
        assert next(stream) == 1
        closed = stream.close()  # which returns something since Python 3.13
        assert closed == ("closed" if sys.version_info >= (3, 13) else None)
        stream = Streams().stream(**given)
        assert next(stream) == 1
        with pytest.raises(StopIteration) as caught:
            stream.throw(GeneratorExit())
        assert caught.value.value == "closed"
        assert asyncio.run(consume(Streams().astream(**given))) == [1, 4, 7]


@has_lane
def test_template_that_is_new_displaces_the_oldest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def define(name: str) -> None:
        exec(f"class One(SessionAwareService):\n  def run(self, {name}, *, session: Session): ...", globals())  # noqa: S102

    monkeypatch.setattr(lane, "_templates", {})
    monkeypatch.setattr(lane, "_LIMIT", 4)
    for name in "abcde":
        define(name)
    kept = list(lane._templates.values())
    for name in "bcde":
        define(name)
    assert list(lane._templates.values()) == kept
    assert [shape.positional[1] for shape in lane._templates] == list("bcde")


def test_ten_thousand_parameter_lists_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[lane._Shape] = []

    def compiling(shape: lane._Shape) -> lane._Template:
        compiled.append(shape)
        return template

    shape = lane._shape(cast("FunctionType", Words.stream), lane.Binding.INSTANCE)
    assert shape is not None
    template = lane._compiled(shape)
    shapes = [shape._replace(positional=("self", f"a{number}")) for number in range(10_000)]
    monkeypatch.setattr(lane, "_templates", {})
    monkeypatch.setattr(lane, "_compiled", compiling)
    for shape in shapes * 2:
        lane._template(shape)
    assert len(compiled) == 10_000


def test_templates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(number: int) -> None:
        scope: dict[str, Any] = {}
        exec(f"def f(a{number}, *, session=None): return a{number}", scope)  # noqa: S102 - a parameter list never seen
        assert auto_session_func(session_factory=maker)(scope["f"])(number, session=GIVEN) == number

    monkeypatch.setattr(lane, "_LIMIT", 8)
    for number in range(20):
        make(number)
    assert len(lane._templates) <= 8


def test_lanes_are_made_by_many_threads_at_once() -> None:
    barrier = threading.Barrier(8)
    results: list[object] = []

    def make() -> None:
        barrier.wait()
        for _ in range(50):

            class Threaded(SessionAwareService, session_factory=maker):
                def of_thread(self, x: int, y: int = 2, *, session: Session = NEW_SESSION) -> int:
                    return x + y

            results.append(Threaded().of_thread(1, session=GIVEN))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [3] * 400


@has_lane
def test_debuggers_step_through_the_lane_and_show_the_methods_lines() -> None:
    class Stepped(SessionAwareService):  # its lane has not been told to ask always by a configure() of another test
        def say(self, first: str, *, session: Session = NEW_SESSION) -> str:
            return first

    shown: list[str] = []

    class Debugger(bdb.Bdb):
        def user_line(self, frame: FrameType) -> None:
            shown.append(linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip())

    stepped, debugger = Stepped(), Debugger()
    before = sys.gettrace()  # coverage's
    try:
        debugger.runcall(stepped.say, "a", session=GIVEN)
    finally:
        sys.settrace(before)
    assert shown[:2] == ["def say(self, first: str, *, session: Session = NEW_SESSION) -> str:", "return first"]


def test_coverage_sees_the_methods_and_no_lane(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from sqlalchemy.orm import Session\n"
        "from session_aware import NEW_SESSION, SessionAwareService\n"
        "class A(SessionAwareService):\n"
        "    def run(self, *, session: Session = NEW_SESSION):\n"
        "        return 1\n"
        "    def rest(self, *, session: Session = NEW_SESSION):\n"
        "        return 2\n"
        "A().run(session=Session())\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    said = []
    for command in (["run", "program.py"], ["report", "-m", "program.py"]):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *command],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(Path(lane.__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said.append(done.stdout)
    assert said[1].splitlines()[2].split() == ["program.py", "8", "1", "88%", "7"]


def test_wrapts_pure_python_fallback_works() -> None:
    program = (
        "from sqlalchemy import create_engine; from sqlalchemy.orm import *; from session_aware import *; import pickle\n"
        "import warnings; warnings.simplefilter('error')\n"
        "class A(SessionAwareService, session_factory=sessionmaker(create_engine('sqlite://'))):\n"
        "    def f(self, x, *, session: Session = NEW_SESSION): return x, session.in_transaction()\n"
        "    @staticmethod\n"
        "    def s(x, *, session: Session = NEW_SESSION): return x\n"
        "    @classmethod\n"
        "    def c(cls, x, *, session: Session = NEW_SESSION): return cls, x\n"
        "assert A().f(1) == (1, True) and A.s(2) == 2 and A.c(3) == (A, 3) and A().f(1, session=Session()) == (1, False)\n"
        "assert pickle.loads(pickle.dumps(A().f))(4) == (4, True)\n"
    )
    environment = {**os.environ, "WRAPT_DISABLE_EXTENSIONS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_generators_consumer_reaches_its_body_with_a_given_session() -> None:
    class Echo(SessionAwareService, session_factory=maker):
        def echo(self, *, session: Session = NEW_SESSION) -> Any:
            got = yield "first"
            with contextlib.suppress(KeyError):
                yield got
            return "done"

    for given in ({}, {"session": GIVEN}):
        stream = Echo().echo(**given)
        assert next(stream) == "first"
        assert stream.send("sent") == "sent"
        with pytest.raises(StopIteration) as end:
            stream.throw(KeyError())
        assert end.value.value == "done"
