"""What happens around a body: open and begin before it, commit or roll back and close after it.

It takes a request, which says how the call was decided, and a body. It returns what the body returns, or lets the exception
of the body pass. ``_database`` answers its questions about the connection and the server.
"""
