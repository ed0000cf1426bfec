"""What an author writes, read once: a class statement, a decorator, ``configure``.

It takes classes and functions, with options for their transactions. It passes each callable that takes a session on to
``_call``, with what a call needs to know of it. Nothing here runs when the callable is called.
"""
