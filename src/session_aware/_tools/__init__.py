"""The commands of ``python -m session_aware``, and ``describe``: users of the library, which never imports them.

They take the names of modules or of a database, and print text for people or JSON for programs.
"""
