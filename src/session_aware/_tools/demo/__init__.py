"""What ``python -m session_aware demo`` runs: a ledger written as a user of the library would write it."""
