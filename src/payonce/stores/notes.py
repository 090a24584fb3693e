"""For how long every store keeps the records of workers, and how many of them where it can count them: a worker that
has died leaves its figures and findings behind, and nobody else would ever clear them away.
"""

from __future__ import annotations

NOTE_DAYS = 35
NOTE_SECONDS = NOTE_DAYS * 86400.0
MOST_NOTES = 20_000
PRUNE_SECONDS = 3600.0
"""How often a local store looks for records that are too old."""
