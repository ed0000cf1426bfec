"""Small complete applications that share one service module, each driven by a real client against a real process.

``bank`` is the service module; ``fastapi_app``, ``flask_app``, ``litestar_app``, ``worker`` and ``cli`` are the
applications. ``python -m tests.integrations.load`` compares the first of them with the same written by hand.
"""
