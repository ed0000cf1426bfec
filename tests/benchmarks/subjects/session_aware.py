"""This library."""

from session_aware import SessionAwareService
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import amaker, maker
from tests.benchmarks._service import Decorators, auto_cases, manual_cases, service

__all__ = ["SUBJECTS"]

_EACH = Decorators()
_Service = service(_EACH, SessionAwareService, session_factory=maker, async_session_factory=amaker)

SUBJECTS = {
    "session-aware": {
        **manual_cases(_Service, _EACH),
        **auto_cases(_Service, _EACH),
        **creation_case(None, SessionAwareService, session_factory=maker),
    }
}
