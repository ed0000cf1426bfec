"""What ``python -m session_aware demo`` runs: a ledger as a user of the library writes it, and what calls it.

Read ``ledger`` first.
"""
