"""The ledger listens and adds up; it never speaks back."""
