"""The bank under faults: eight workers, an adversary, and a count of who was told the truth. ``python -m tests.faults``."""
