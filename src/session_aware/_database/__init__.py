"""What SQLAlchemy and the server know: events, connections, error codes, and what became of a COMMIT.

It takes sessions, connections and errors. It returns answers, and raises exceptions where work would be lost. Nothing here
knows of calls, policies or Python's kinds of callable.
"""
