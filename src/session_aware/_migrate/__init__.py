"""``python -m session_aware migrate``: from other ways of handing sessions around to keyword-only ``session``."""
