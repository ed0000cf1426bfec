"""The commands of ``python -m session_aware``, and ``describe``: users of the library, which never imports them.

In come the names of modules or of a database. Out goes text for people, or JSON for programs.
"""
