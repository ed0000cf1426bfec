"""What is rewritten, together with everything that belongs to it, and what is left alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from session_aware._migrate.ambient import ambient
from session_aware._migrate.calls import Uses
from session_aware._migrate.candidates import AUTO, Candidate, consider
from session_aware._migrate.definitions import Index
from session_aware._migrate.names import Names
from session_aware._migrate.reader import look
from session_aware._migrate.rules import SENTINEL, Rules, factory_of
from session_aware._migrate.tree import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from session_aware._migrate.calls import Call
    from session_aware._migrate.tree import Module, Tree

__all__ = ["Change", "Decision", "decide"]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be rewritten in one module.

    Attributes:
        replaced: Names of imports that give way to those of this library, though they are used.
        exported: Names that other modules import from it.
    """

    definitions: list[Candidate] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    exported: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for a tree.

    Attributes:
        factory: What the rewritten functions opened their sessions from; empty if they did not say.
    """

    changes: Mapping[Module, Change]
    refusals: Sequence[Refusal]
    factory: str


def decide(tree: Tree, *, decorators: Sequence[str] = (), factory: str = "") -> Decision:
    """Decide about every function of a tree.

    Args:
        tree: All modules; a call outside of it is not seen.
        decorators: Full names of decorators that inject ``session``, besides those that are known.
        factory: The full name of the one factory whose hand-written use is replaced. Empty: that of all, if it is one.
    """
    names = Names(tree)
    index = Index(tree, names)
    judged = [consider(definition, index, decorators) for definition in index.definitions]
    accepted = {one.definition: one for one in judged if isinstance(one, Candidate)}
    refusals = [one for one in judged if isinstance(one, Refusal)]
    uses = Uses(one for one in accepted if one.position is not None)
    look(uses, index, tree.modules)
    found = {factory_of(one.definition, one.dance, index) for one in accepted.values() if one.dance is not None}
    chosen = names.canonical(factory) if factory else found.pop() if len(found) == 1 else None
    rules = Rules(index, uses, accepted, decorators, chosen)
    while refused := {one.definition: why for one in accepted.values() if (why := rules.against(one)) is not None}:
        for definition, why in refused.items():
            refusals.append(definition.refusal(*why))
            del accepted[definition]
    changes: defaultdict[Module, Change] = defaultdict(Change)
    for definition, candidate in accepted.items():
        change = changes[definition.module]
        change.definitions.append(candidate)
        change.replaced.update(name for name in (AUTO, SENTINEL) if rules.is_replaced(definition.module, name))
        for call in uses.calls[definition]:
            changes[call.module].calls.append(call)
    for module, exported in names.exports().items():
        if module in changes:
            changes[module].exported.update(exported)
    is_replaced = any(one.dance is not None for one in accepted.values())
    shown = names.short(chosen) if chosen and is_replaced else ""
    return Decision(changes, sorted([*refusals, *ambient(index)]), shown)
