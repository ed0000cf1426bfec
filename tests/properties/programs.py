"""Random programs: trees of calls, savepoints, streams and failures. Nodes are frozen values: they shrink and print.

A body is a tuple of operations, run one after the other in the session of the unit around it, or in none at the root.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, cast

from hypothesis import strategies as st

from session_aware import Propagation, SessionPolicy

# fmt: off
__all__ = [
    "Add", "Block", "Body", "Call", "Fail", "Finish", "Form", "How", "Manual", "Misuse",
    "Nest", "Operation", "Raise", "Read", "Stream", "Try", "Write", "policies", "programs",
]
# fmt: on


_SILENT = SessionPolicy()


class Form(Enum):
    """How a callable is declared and reached."""

    INSTANCE = "instance method"
    CLASS = "class method"
    STATIC = "static method"
    FUNCTION = "auto_session_func"
    CONTEXT = "auto_session_ctx"  # for Call only


class Finish(Enum):
    """What the consumer does with a stream that it has read some items of."""

    EXHAUST = "reads it to the end"
    CLOSE = "closes it"
    THROW = "throws into it, then closes it"


@dataclass(frozen=True)
class How:
    """How a unit is called: the author's policies, and what the caller passes.

    Attributes:
        factory: Which of the two session factories the callable has.
        is_given: Whether the caller passes its session, if it has one.
    """

    form: Form = Form.INSTANCE
    policy: SessionPolicy = _SILENT
    of_class: SessionPolicy = _SILENT
    factory: int = 0
    is_given: bool = False
    is_commit: bool = True


@dataclass(frozen=True)
class Write:
    """Insert a row at once."""


@dataclass(frozen=True)
class Add:
    """Add an object, which the next flush inserts; that fails if it is not valid."""

    is_valid: bool = True


@dataclass(frozen=True)
class Fail:
    """Send a statement that fails."""


@dataclass(frozen=True)
class Raise:
    """Raise an Exception, or a BaseException that is none."""

    is_base: bool = False


@dataclass(frozen=True)
class Misuse:
    """End a transaction that the library owns: ``session.commit()`` or ``session.rollback()``; nothing elsewhere."""

    is_commit: bool = True


@dataclass(frozen=True)
class Try:
    """Swallow every Exception of a body."""

    body: Body


@dataclass(frozen=True)
class Nest:
    """Run a body in ``session.begin_nested()``."""

    body: Body


@dataclass(frozen=True)
class Manual:
    """Run a body in a session and a transaction of the program's own."""

    body: Body


@dataclass(frozen=True)
class Call:
    """Call a plain callable, or enter a block."""

    how: How
    body: Body


@dataclass(frozen=True)
class Block:
    """Enter a context manager method: before its yield, the caller's block, after its yield.

    Attributes:
        uses_yielded: Whether the block runs in the session that the method yields, else in the caller's.
        catches: Whether the method swallows an Exception of the block.
    """

    how: How
    before: Body
    block: Body
    after: Body
    uses_yielded: bool = True
    catches: bool = False


@dataclass(frozen=True)
class Stream:
    """A generator: it yields after each of its segments.

    Attributes:
        catches: Whether it swallows an Exception that is thrown in at a yield, and goes on.
    """

    how: How
    segments: tuple[Body, ...]
    catches: bool
    finish: Finish


@dataclass(frozen=True)
class Read:
    """Read streams side by side: ``schedule`` says from which one each item is taken; then each is finished, in order."""

    streams: tuple[Stream, ...]
    schedule: tuple[int, ...]


Operation: TypeAlias = Write | Add | Fail | Raise | Misuse | Try | Nest | Manual | Call | Block | Read
Body: TypeAlias = tuple[Operation, ...]

_LEVEL = "SERIALIZABLE"
policies = st.builds(
    SessionPolicy,
    propagation=st.sampled_from([None, *Propagation]),
    read_only=st.sampled_from([None, False, True]),
    isolation_level=st.sampled_from([None, _LEVEL]),
)
_NESTED = SessionPolicy(propagation=Propagation.NESTED)
_READ_ONLY = SessionPolicy(read_only=True)
_SERIALIZABLE = SessionPolicy(isolation_level=_LEVEL)
# Most calls say nothing, or a program would mostly end in the first conflict. What stands first is what shrinking seeks.
_likely = [_SILENT, _SILENT, _SILENT, _SILENT, _NESTED, _NESTED, _READ_ONLY, _SERIALIZABLE]
_factories = st.sampled_from([0, 0, 0, 1])
_commits = st.sampled_from([True, True, True, False])
_forms = st.sampled_from(Form)
_callable_forms = st.sampled_from([form for form in Form if form is not Form.CONTEXT])
_finishes = st.sampled_from(Finish)
_schedules = st.lists(st.integers(0, 1), max_size=5).map(tuple)
_writes: list[Any] = [Write(), Add()]
_failures = [Fail(), Add(is_valid=False), Raise(), Raise(is_base=True), Misuse(), Misuse(is_commit=False)]
_handled = [Try((Fail(),)), Try((Raise(),)), Try((Nest((Write(), Fail())),)), Nest((Write(),))]
_compounds = [Call, Call, Call, Call, Try, Try, Nest, Nest, Read, Read, Block, Block, Manual]
_at_root = st.sampled_from([Call, Call, Read, Block, Manual, Try])
# Failures are likely where something catches them, or most programs would be over too soon.
_free = st.sampled_from([*_writes * 3, *_handled, *_compounds, *_failures[:4]])
_caught = st.sampled_from([*_writes * 2, *_handled[:2], *_compounds, *_failures * 2])
_at_depth = st.sampled_from([*_writes * 4, *_handled, *_failures[:4]])
_likely_policies = st.sampled_from([*_likely, None])


class _Grower:
    """Grows one program. Written out, since it is ten times as fast as strategies of strategies, and denser."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._left = 20  # operations

    def body(self, depth: int, kinds: st.SearchStrategy[Any] = _free, *, at_least: int = 0, is_caught: bool = False) -> Body:
        if depth == 0 or self._left <= 0:
            kinds = _at_depth
        elif is_caught:
            kinds = _caught
        size = self._draw(st.integers(at_least, 4))
        return tuple(self._operation(self._draw(kinds), depth - 1) for _ in range(size))

    def _operation(self, kind: Any, depth: int) -> Operation:
        self._left -= 1
        if not isinstance(kind, type):
            return cast("Operation", kind)
        if kind is Call:
            return Call(self._how(_forms), self.body(depth, at_least=1))
        if kind is Block:
            how, flags = self._how(_callable_forms), (self._draw(st.booleans()), self._draw(st.booleans()))
            return Block(how, self.body(depth), self.body(depth), self.body(depth), *flags)
        if kind is Read:
            streams = tuple(self._stream(depth) for _ in range(self._draw(st.integers(1, 2))))
            return Read(streams, self._draw(_schedules))
        made: Operation = kind(self.body(depth, at_least=1, is_caught=kind is Try))
        return made

    def _stream(self, depth: int) -> Stream:
        segments = tuple(self.body(depth) for _ in range(self._draw(st.integers(0, 3))))
        return Stream(self._how(_callable_forms), segments, self._draw(st.booleans()), self._draw(_finishes))

    def _how(self, forms: st.SearchStrategy[Form]) -> How:
        draw = self._draw
        near = draw(_likely_policies) or draw(policies)
        far = draw(_likely_policies) or draw(policies) if near is _SILENT else _SILENT
        return How(draw(forms), near, far, draw(_factories), draw(st.booleans()), draw(_commits))


@st.composite
def _programs(draw: st.DrawFn) -> Body:
    return _Grower(draw).body(4, _at_root, at_least=1)


programs = _programs()
