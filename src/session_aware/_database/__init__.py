"""What SQLAlchemy and the server know: events, connections, error codes, and what became of a COMMIT.

In come sessions, connections and errors. Out go answers, and exceptions where work would be lost. Nothing here knows of
calls, policies or Python's kinds of callable.
"""
