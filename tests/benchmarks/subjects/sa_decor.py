"""sa-decor: a decorator of sync functions that hands ``session`` in."""

from importlib import import_module

from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import maker
from tests.benchmarks._service import Decorators, auto_cases, manual_cases, service

__all__ = ["SUBJECTS"]

_DECORATORS = Decorators(
    import_module("sa_decor").with_session(commit=True, session_maker=maker), None, None, None, None, None
)
_Service = service(_DECORATORS)

SUBJECTS = {
    "sa-decor": {
        **manual_cases(_Service, _DECORATORS),
        **auto_cases(_Service, _DECORATORS),
        **creation_case(_DECORATORS.plain),
    }
}
