"""Classes: inheritance, mixins, generics, protocols, abstract and slotted classes; copies and introspection."""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
import inspect
import pickle
import pydoc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, runtime_checkable
from unittest import mock

import attrs
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import (
    NEW_SESSION,
    PolicyConflictError,
    Propagation,
    PropagationError,
    SessionAwareService,
    SessionFactoryError,
    SessionParameterError,
    auto_session_func,
    describe,
)
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account
from tests.services import NOTHING, OWNED, Accounts, add, passing

T = TypeVar("T")


class Opening(SessionAwareService):
    """Opens accounts; the tests name its factory."""

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        """Open an account."""
        return add(session, owner)


# Inheritance


def test_super_joins_the_session_of_the_override(database: SyncDatabase) -> None:
    class Below(Opening, session_factory=database.maker):
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            super().open(f"{owner} and co", session=session)
            return super().open(owner, session=session)

    Below().open("ann")
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann", "ann and co"]


def test_override_that_forgets_the_session_in_super_warns(sqlite: SyncDatabase) -> None:
    class Below(Opening, session_factory=sqlite.maker):
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return super().open(owner)

    with pytest.warns(UserWarning, match="was called without 'session='"):
        Below().open("ann")


def test_diamond_goes_through_the_mro_in_one_transaction(database: SyncDatabase) -> None:
    class Left(Opening):
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            super().open(f"{owner} left", session=session)
            return add(session, owner)

    class Right(Opening):
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return super().open(f"{owner} right", session=session)

    class Both(Left, Right, session_factory=database.maker):
        """A diamond."""

    Both().open("ann")
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann", "ann left right"]


def test_method_under_another_name_stays_session_aware(sqlite: SyncDatabase) -> None:
    class Below(Opening, session_factory=sqlite.maker):
        create = Opening.open
        static = Accounts.static
        bound = Accounts().open

    Below().create("ann")
    assert sqlite.recorder.events == OWNED
    assert Below().bound.__self__.__class__ is Accounts  # type: ignore[attr-defined] # a bound method


def test_dispatching_method_under_another_name_stays_session_aware(sqlite: SyncDatabase) -> None:
    class Below(Accounts, session_factory=sqlite.maker):
        again = Accounts.dispatched
        bound = Accounts().dispatched

    assert Below().again("ann").owner == "ann"
    assert sqlite.recorder.events == OWNED
    with pytest.raises(SessionFactoryError):
        Below().bound("ann")  # of an object that has none


def test_function_that_is_set_later_is_not_wrapped_and_says_so() -> None:
    class Here(Opening):
        """Gets a method later."""

    def late(self: object, *, session: Session = NEW_SESSION) -> None:
        session.flush()

    Here.late = late  # type: ignore[attr-defined] # the point
    with pytest.raises(TypeError, match=r"^NEW_SESSION\.flush: "):
        Here().late()  # type: ignore[attr-defined] # the point


# Mixins


class Mixin(SessionAwareService):
    """Leaves the factory to the classes that derive from it."""

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @staticmethod
    def static(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @classmethod
    def of_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)


@pytest.mark.parametrize("name", ["open", "static", "of_class"])
def test_methods_of_a_mixin_use_the_factory_of_the_class_that_takes_them(name: str, database: SyncDatabase) -> None:
    class Here(Mixin, Opening, session_factory=database.maker):
        """Has a database."""

    getattr(Here(), name)("ann")
    assert database.recorder.events == OWNED


# Bases that are no services


class Declares(Protocol):
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account: ...


def opening(_self: object, owner: str, *, session: Session = NEW_SESSION) -> Account:
    return add(session, owner)


class Opener:
    def __call__(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)


@pytest.mark.parametrize(
    "value",
    [
        opening,
        classmethod(opening),
        staticmethod(opening),
        passing(opening),
        contextmanager(opening),  # type: ignore[arg-type] # looked at only
        functools.partialmethod(opening, "ann"),
        functools.singledispatchmethod(opening),
        Opener(),
    ],
    ids=["method", "class", "static", "decorated", "context manager", "partial", "dispatching", "callable object"],
)
def test_placeholder_in_a_base_that_is_no_service_is_refused(value: object) -> None:
    plain = type("Plain", (), {"open": value, "__module__": __name__})
    with pytest.raises(SessionParameterError) as caught:
        type("Here", (plain, Opening), {})
    line = opening.__code__.co_firstlineno
    if isinstance(value, Opener):
        line = Opener.__call__.__code__.co_firstlineno
    assert str(caught.value) == (
        "Here.open: it comes from Plain, which is not a SessionAwareService, so nothing takes the place of its NEW_SESSION. "
        f"Write 'class Plain(SessionAwareService)'. It is defined in {__file__}, line {line}."
    )
    assert issubclass(type("There", (Opening, plain), {}), plain)  # there the service's own comes first
    assert issubclass(type("Again", (plain, Opening), {"open": Opening.open}), plain)


def test_method_of_a_protocol_may_be_implemented_further_down(sqlite: SyncDatabase) -> None:
    class Partial(SessionAwareService, Declares, session_factory=sqlite.maker):
        """Implements nothing yet."""

    class Here(Partial):
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    assert Here().open("ann").owner == "ann"
    assert "Declares is not a SessionAwareService" in "".join(describe(Partial).findings)


def test_what_is_session_aware_by_itself_may_stand_in_any_base(sqlite: SyncDatabase) -> None:
    class Other(Accounts, session_factory=sqlite.maker):
        def __call__(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    free = auto_session_func(session_factory=sqlite.maker)(opening)

    class Plain:
        bound = Other().open
        dispatched = Other().dispatched
        of_class = Other.of_class
        static = Other.static
        called = Other()
        partial = functools.partial(free, None)

    class Here(SessionAwareService, Plain):
        """Takes all of them."""

    for name in ("bound", "dispatched", "of_class", "static", "called"):
        assert getattr(Here(), name)(name).owner == name
    assert Here.partial("partial").owner == "partial"
    assert len(sqlite.owners()) == 6


def test_property_and_constructor_beneath_auto_session_func_work(sqlite: SyncDatabase) -> None:
    class Here(SessionAwareService):
        @property
        @auto_session_func(session_factory=sqlite.maker)
        def total(self, *, session: Session = NEW_SESSION) -> bool:  # noqa: PLR0206 - the point
            return session.in_transaction()

        @functools.cached_property
        @auto_session_func(session_factory=sqlite.maker)
        def cached(self, *, session: Session = NEW_SESSION) -> bool:  # noqa: PLR0206 - likewise
            return session.in_transaction()

        @auto_session_func(session_factory=sqlite.maker)
        def __init__(self, *, session: Session = NEW_SESSION) -> None:
            self.made_in_transaction = session.in_transaction()

    assert (Here().total, Here().cached, Here().made_in_transaction) == (True, True, True)


class Failing:
    """A proxy whose object is not there, as Flask's ``current_app``."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    @property  # type: ignore[misc] # read-only
    def __class__(self) -> Any:
        raise RuntimeError

    def __call__(self) -> None:
        raise AssertionError


class Remote:
    """Sends every call somewhere, and has an attribute of every name."""

    def __getattr__(self, name: str) -> Any:
        return Remote()

    def __call__(self, *args: object, **kwargs: object) -> Any:
        raise AssertionError("sent")


class Broken:
    """Has a signature that cannot be read."""

    @property
    def __signature__(self) -> Any:
        raise RuntimeError

    def __call__(self, *args: object, **kwargs: object) -> None: ...


class Gone:
    """Is gone before anybody looks."""


INSCRUTABLE: dict[str, Callable[[], object]] = {
    "failing": Failing,
    "remote": Remote,
    "broken": Broken,
    "call": lambda: mock.call,
    "mock": mock.Mock,
    "magic mock": mock.MagicMock,
    "gone": lambda: weakref.proxy(Gone()),
}


@pytest.mark.parametrize("kind", INSCRUTABLE)
def test_attribute_that_must_not_be_looked_at_is_left_alone(kind: str) -> None:
    body = {"attribute": INSCRUTABLE[kind]()}
    assert vars(type("Here", (SessionAwareService,), dict(body)))["attribute"] is body["attribute"]
    below: Any = type("There", (type("Plain", (), dict(body)), SessionAwareService), {})
    assert describe(below).findings == ()


def test_callable_object_that_answers_to_every_name_is_still_session_aware(sqlite: SyncDatabase) -> None:
    class Answering:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def __call__(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    class Here(SessionAwareService, session_factory=sqlite.maker):
        opener = Answering()

    assert Here().opener("ann").owner == "ann"


def test_protocol_and_abstract_method_that_the_service_implements_are_no_matter(database: SyncDatabase) -> None:
    class Abstract(abc.ABC):
        @abc.abstractmethod
        def close(self, *, session: Session = NEW_SESSION) -> None: ...

    class Here(SessionAwareService, Declares, Abstract, session_factory=database.maker):
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    assert describe(Here).findings == ()

    class There(Here):
        def close(self, *, session: Session = NEW_SESSION) -> None: ...

    There().open("ann")
    assert database.recorder.events == OWNED


def test_abstract_method_of_a_mixin_is_left_to_its_implementation(sqlite: SyncDatabase) -> None:
    class Contract(abc.ABC):
        @abc.abstractmethod
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account: ...

    class Unfinished(SessionAwareService, Contract):
        """Implements nothing."""

    class Finished(Accounts, Contract, session_factory=sqlite.maker):
        """Inherits an implementation."""

    assert Unfinished.__abstractmethods__ == {"open"}
    Finished().open("ann")
    assert sqlite.recorder.events == OWNED


def test_base_that_is_no_service_stays_as_it_is(sqlite: SyncDatabase) -> None:
    class Plain:
        def open(self, owner: str, *, session: Session) -> Account:
            return add(session, owner)

    class Here(Plain, SessionAwareService, session_factory=sqlite.maker):
        """Inherits."""

    assert Here.open is Plain.open
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'session'"):
        Here().open("ann")  # type: ignore[call-arg]
    assert "Plain is not a SessionAwareService" in "".join(describe(Here).findings)


class Marked:
    """A plain mixin whose methods have policies."""

    @auto_session_func(propagation=Propagation.MANDATORY)
    def strict(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func
    def free(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func(propagation=Propagation.NESTED)
    def nested(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func
    @classmethod
    def above_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @classmethod
    @auto_session_func
    def beneath_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func
    @staticmethod
    def above_static(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @passing
    @auto_session_func(read_only=True)
    def reading(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)


@pytest.mark.parametrize("name", ["free", "nested", "above_class", "beneath_class", "above_static"])
def test_decorated_method_of_a_mixin_uses_the_factory_of_the_service(name: str, database: SyncDatabase) -> None:
    class Here(Marked, SessionAwareService, session_factory=database.maker):
        """Has a database."""

    getattr(Here(), name)("ann")
    assert database.recorder.events == OWNED


def test_decorated_method_of_a_mixin_keeps_its_policy(database: SyncDatabase) -> None:
    class Here(Marked, SessionAwareService, session_factory=database.maker):
        """Has a database."""

    with pytest.raises(PropagationError):
        Here().strict("ann")
    with pytest.raises(PolicyConflictError):
        Here().reading("ann")
    assert database.recorder.take() == NOTHING  # refused before a connection was needed
    with database.maker.begin() as session:
        Here().nested("ann", session=session)
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]


def test_decorated_static_method_of_a_mixin_that_would_miss_its_class_is_refused(sqlite: SyncDatabase) -> None:
    class Static:
        @staticmethod
        @auto_session_func
        def open(owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    with pytest.raises(SessionParameterError) as caught:

        class Here(Static, SessionAwareService, session_factory=sqlite.maker):
            """Has a database."""

    assert str(caught.value) == (
        "Here.open: it is a static method of Static, which is not a SessionAwareService, so a call cannot know that it came "
        "through Here, whose session_factory would be ignored. Write 'class Static(SessionAwareService)'."
    )


# Generic, Protocol, ABC, dataclasses, attrs


def test_generic_service(database: SyncDatabase) -> None:
    class Repository(SessionAwareService, Generic[T]):
        def get(self, key: T, *, session: Session = NEW_SESSION) -> T:
            assert session.in_transaction()
            return key

        @classmethod
        def name(cls, *, session: Session = NEW_SESSION) -> str:
            return cls.__name__

    class Names(Repository[str], session_factory=database.maker):
        """Of strings."""

    numbers = Repository[int]()
    numbers.session_factory = database.maker
    assert (Names().get("ann"), numbers.get(1), Names.name()) == ("ann", 1, "Names")


@runtime_checkable
class Opens(Protocol):
    """What opens accounts."""

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account: ...

    @auto_session_func
    def twice(self, owner: str, *, session: Session = NEW_SESSION) -> str:
        return self.open(owner, session=session).owner * 2


class Protocolled(SessionAwareService, Opens):
    """Does so by inheritance."""

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)


def test_protocol_is_implemented_with_and_without_inheritance(database: SyncDatabase) -> None:
    class Here(Protocolled, session_factory=database.maker):
        """Has a database."""

    assert isinstance(Here(), Opens)
    assert not isinstance(Opening(), Opens)
    assert Here().twice("ann") == "annann"
    assert database.recorder.events == OWNED


class Abstract(SessionAwareService, abc.ABC):
    """Cannot be made."""

    @abc.abstractmethod
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @staticmethod
    @abc.abstractmethod
    def rate(*, session: Session = NEW_SESSION) -> int: ...

    @classmethod
    @abc.abstractmethod
    async def who(cls, *, session: AsyncSession = NEW_SESSION) -> str: ...


def test_abstract_methods_stay_abstract() -> None:
    assert Abstract.__abstractmethods__ == {"open", "rate", "who"}
    with pytest.raises(TypeError, match="abstract"):
        Abstract()  # type: ignore[abstract] # this is the point


def test_abstract_method_is_implemented_and_called_by_super(database: SyncDatabase) -> None:
    class Here(Abstract, session_factory=database.maker):
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return super().open(owner, session=session)

        @staticmethod
        def rate(*, session: Session = NEW_SESSION) -> int:
            return 7

        @classmethod
        async def who(cls, *, session: AsyncSession = NEW_SESSION) -> str:
            return cls.__name__

    assert Here.__abstractmethods__ == frozenset()
    assert (Here().open("ann").owner, Here.rate()) == ("ann", 7)


@dataclasses.dataclass(slots=True)
class Slotted(SessionAwareService, propagation=Propagation.REQUIRED):
    """Is built twice."""

    session_factory: Any
    prefix: str = "the "

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, self.prefix + owner)

    @classmethod
    def who(cls, *, session: Session = NEW_SESSION) -> type:
        return cls

    @staticmethod
    def give(value: int, *, session: Session) -> int:
        return value


@dataclasses.dataclass(frozen=True)
class Frozen(SessionAwareService):
    """Cannot be changed."""

    session_factory: Any

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)


@attrs.define
class Attrs(Opening, propagation=Propagation.REQUIRED):
    """Is built twice, and its closures are mended."""

    session_factory: Any
    prefix: str = "the "

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return super().open(self.prefix + owner, session=session)

    @classmethod
    def who(cls, *, session: Session = NEW_SESSION) -> type:
        return super().__thisclass__ if session is None else cls  # type: ignore[redundant-expr] # a closure


@pytest.mark.parametrize(("service", "owner"), [(Slotted, "the ann"), (Frozen, "ann"), (Attrs, "the ann")])
def test_class_that_is_built_twice_is_wrapped_once(service: Any, owner: str, database: SyncDatabase) -> None:
    accounts = service(database.maker)
    assert accounts.open("ann").owner == owner
    assert database.recorder.take() == OWNED
    with database.maker() as session:
        accounts.open("bob", session=session)
    assert database.recorder.events == ["CHECKOUT", "BEGIN", "ROLLBACK", "CHECKIN"]


def test_class_that_is_built_twice_keeps_its_policy_and_its_factory(sqlite: SyncDatabase) -> None:
    @dataclasses.dataclass(slots=True)
    class Here(SessionAwareService, session_factory=sqlite.maker, propagation=Propagation.MANDATORY):
        number: int = 1

        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

        @auto_session_func(propagation=Propagation.REQUIRED)
        def free(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    with pytest.raises(PropagationError):
        Here().open("ann")
    Here().free("ann")
    assert sqlite.recorder.events == OWNED


def test_class_methods_of_a_class_that_is_built_twice_know_it(sqlite: SyncDatabase) -> None:
    assert Attrs(sqlite.maker).prefix == "the "
    with sqlite.maker() as session:
        assert Slotted.who(session=session) is Slotted
        assert Attrs.who(session=session) is Attrs
        assert Slotted.give(3, session=session) == 3


def test_keywords_for_other_bases_pass_through(sqlite: SyncDatabase) -> None:
    class Registered:
        names: ClassVar[list[str]] = []

        def __init_subclass__(cls, *, label: str, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            Registered.names.append(label)

    class Here(Opening, Registered, label="here", session_factory=sqlite.maker):
        """Has keywords of both."""

    assert Registered.names == ["here"]
    assert Here().open("ann").owner == "ann"
    with pytest.raises(TypeError, match="no base of the class takes the keyword 'unknown'"):

        class Wrong(Opening, unknown=True):
            """Has a keyword of none."""

    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'label'"):

        class Lacking(Opening, Registered):
            """Lacks a keyword of another base."""

    class Mistaken:
        def __init_subclass__(cls, *, retries: int, **_: Any) -> None:
            cast("Any", lambda: None)(retries=retries)

    with pytest.raises(TypeError, match=r"<lambda>\(\) got an unexpected keyword argument 'retries'$"):

        class Blamed(Opening, Mistaken, retries=1):
            """Passes what its base takes."""


# Pickling and copies


class Kept(Accounts):
    """Has a state."""

    def __init__(self, name: str) -> None:
        self.name = name

    def who(self, *, session: Session = NEW_SESSION) -> str:
        return self.name

    def __hidden(self, *, session: Session = NEW_SESSION) -> str:
        return self.name

    def hidden(self) -> Any:
        return self.__hidden

    alias = who


@auto_session_func
def module_function(*, session: Session = NEW_SESSION) -> None: ...


@auto_session_func
@contextmanager
def module_block(*, session: Session = NEW_SESSION) -> Iterator[None]:
    yield


METHODS = [lambda kept: kept.who, lambda kept: kept.alias, lambda kept: kept.open]


@pytest.mark.parametrize("method_of", METHODS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_bound_method_survives_pickle(method_of: Any, protocol: int) -> None:
    method = method_of(Kept("ann"))
    again = pickle.loads(pickle.dumps(method, protocol))
    assert again.__self__.name == "ann"
    assert inspect.unwrap(again.__func__) is inspect.unwrap(method.__func__)


@pytest.mark.parametrize("method_of", [*METHODS, lambda kept: kept.opened, lambda kept: kept.hidden()])
def test_bound_method_is_copied_with_its_object(method_of: Any) -> None:
    kept = Kept("ann")
    method = method_of(kept)
    deep = copy.deepcopy(method)
    assert type(deep) is type(method)
    assert deep.__self__ is not kept
    assert deep.__self__.name == "ann"


@pytest.mark.parametrize("name", ["open", "static", "of_class", "stream", "opened", "opener", "marked_above_static"])
def test_methods_reached_through_the_class_survive_pickle_and_copy(name: str, sqlite: SyncDatabase) -> None:
    method = getattr(Accounts, name)
    for again in (pickle.loads(pickle.dumps(method)), copy.copy(method), copy.deepcopy(method)):
        assert getattr(again, "__self__", None) == getattr(method, "__self__", None)
        assert again.__qualname__ == method.__qualname__ if hasattr(method, "__qualname__") else True
        with sqlite.maker() as session:
            if name not in {"open", "stream", "opened"}:
                assert again("ann", session=session).owner == "ann"


@pytest.mark.parametrize("function", [module_function, module_block])
def test_function_survives_pickle_and_copy(function: object) -> None:
    assert copy.copy(function) is copy.deepcopy(function) is function
    assert pickle.loads(pickle.dumps(function)) is function


def test_service_survives_deepcopy_and_pickle() -> None:
    kept = Kept("ann")
    assert copy.deepcopy(kept).who.__self__.name == "ann"  # type: ignore[attr-defined] # a bound method
    assert pickle.loads(pickle.dumps(kept)).name == "ann"


def test_bound_methods_are_equal_and_hash_alike() -> None:
    kept = Kept("ann")
    assert kept.who == kept.who
    assert hash(kept.who) == hash(kept.who)
    assert kept.who != Kept("ann").who


# Introspection


class Documented(SessionAwareService):
    """Has something to look at."""

    def open(self, owner: str, /, *, session: Session = NEW_SESSION) -> Account:
        """Open an account."""
        return add(session, owner)

    @classmethod
    def of_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
        """Open of the class."""
        return add(session, owner)

    @staticmethod
    def static(owner: str, *, session: Session = NEW_SESSION) -> Account:
        """Open without an object."""
        return add(session, owner)

    async def aopen(self, *, session: AsyncSession = NEW_SESSION) -> None:
        """Open later."""

    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        """Stream."""
        yield 1

    async def astream(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
        """Stream later."""
        yield 1


def test_bound_methods_look_bound() -> None:
    documented = Documented()
    assert inspect.ismethod(documented.open)
    assert inspect.ismethod(Documented.of_class)
    assert documented.open.__self__ is documented
    assert Documented.of_class.__self__ is Documented


def test_help_shows_signatures_and_docstrings() -> None:
    text = pydoc.plain(pydoc.render_doc(Documented)).replace("'", "")  # which Python 3.14 leaves out
    for piece in (
        "open(self, owner: str, /, *, session: Session = NEW_SESSION) -> Account",
        "Open an account.",
        "of_class(owner: str, *, session: Session = NEW_SESSION) -> Account",
        "Open of the class.",
        "static(owner: str, *, session: Session = NEW_SESSION) -> Account",
        "Open without an object.",
    ):
        assert piece in text


def test_autospec_checks_calls() -> None:
    spec = cast("Any", mock.create_autospec(Documented))
    instance = spec()
    instance.open("ann", session=None)
    instance.open.assert_called_once_with("ann", session=None)
    with pytest.raises(TypeError):
        instance.open()
    with pytest.raises(TypeError):
        instance.open("ann", None)
    spec.static("ann")
    assert inspect.iscoroutinefunction(instance.aopen)
    mock.create_autospec(module_function)(session=None)


def test_sync_and_async_live_side_by_side_in_one_service(sqlite: SyncDatabase, aiosqlite: AsyncDatabase) -> None:
    class Here(Opening, session_factory=sqlite.maker, async_session_factory=aiosqlite.maker):
        async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> str:
            account = Account(owner=owner)
            session.add(account)
            return owner

    Here().open("ann")
    assert sqlite.recorder.events == OWNED
    assert aiosqlite.recorder.events == NOTHING
    assert aiosqlite.run(Here().aopen("bob")) == "bob"
    assert aiosqlite.recorder.events == OWNED
    assert sqlite.owners() == ["ann", "bob"]


def test_abstract_async_stream_is_a_plain_def(aiosqlite: AsyncDatabase) -> None:
    class Streams(SessionAwareService, abc.ABC):
        @abc.abstractmethod
        def rows(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]: ...

    class Here(Streams, async_session_factory=aiosqlite.maker):
        async def rows(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
            yield int(session.in_transaction())

    async def scenario() -> None:
        assert [row async for row in Here().rows()] == [1]

    aiosqlite.run(scenario())


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_static_and_class_methods_of_a_class_that_is_built_twice_open_one_session(kind: Any, sqlite: SyncDatabase) -> None:
    opened: list[Session] = []

    def make() -> Session:
        opened.append(sqlite.maker())
        return opened[-1]

    @dataclasses.dataclass(slots=True)
    class Here(SessionAwareService, session_factory=make):
        @kind  # type: ignore[untyped-decorator]
        def run(*_cls: type, session: Session = NEW_SESSION) -> bool:
            return session is opened[-1]

    assert Here.run()
    assert Here().run()
    assert len(opened) == 2
