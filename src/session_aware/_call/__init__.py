"""A call arrives and is decided: whose session, under which policy, from which factory.

It takes the arguments of a call, with or without a session. A call with a session usually goes straight to the function.
Any other call becomes a request with a source for its session, which ``_unit`` carries out.
"""
