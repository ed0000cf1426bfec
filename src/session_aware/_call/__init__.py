"""A call arrives and is decided: whose session, under which policy, from which factory.

In come arguments, with or without a session. A call that has one goes to the function at once. Any other call leaves as a
request with its source of a session, which ``_unit`` carries out.
"""
