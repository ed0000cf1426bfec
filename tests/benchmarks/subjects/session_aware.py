"""This library."""

import os

from session_aware import SessionAwareService
from session_aware._call import lane
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import amaker, maker
from tests.benchmarks._service import Decorators, auto_cases, manual_cases, service

__all__ = ["SUBJECTS"]

if os.environ.get("SEED_SLOW_DOWN"):  # one dictionary more, made and copied by every lane: --check has to notice
    text = lane._TEXT.replace("return {method}", "return {{'session': session}}.copy() and {method}")
    lane._TEXT = text  # type: ignore[misc] # Final

_EACH = Decorators()
_Service = service(_EACH, SessionAwareService, session_factory=maker, async_session_factory=amaker)

SUBJECTS = {
    "session-aware": {
        **manual_cases(_Service, _EACH),
        **auto_cases(_Service, _EACH),
        **creation_case(None, SessionAwareService, session_factory=maker),
    }
}
