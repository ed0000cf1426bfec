"""What happens around a body: open and begin before it, commit or roll back and close after it.

In comes a request, as it was decided, and the body. Out goes what the body returns, or the exception that it raised. What
has to be known of the connection and the server is asked of ``_database``.
"""
