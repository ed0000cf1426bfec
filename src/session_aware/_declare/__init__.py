"""What an author writes, read once: a class statement, a decorator, ``configure``.

In come classes and functions, with options for their transactions. Each callable that takes a session is handed on to
``_call`` with what a call needs to know of it. Nothing here runs when the callable is called.
"""
