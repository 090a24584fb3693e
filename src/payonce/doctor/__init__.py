"""Why a prompt cache is not hit: lints of one request, and conversations followed from turn to turn."""

from __future__ import annotations

from payonce.doctor.causes import CAUSES, Cause, Severity
from payonce.doctor.findings import Finding
from payonce.doctor.lints import lint
from payonce.doctor.models import rates_from
from payonce.doctor.pages import Diary, Report, add_up
from payonce.doctor.seen import Seen
from payonce.doctor.told import diagnostics_in
from payonce.doctor.watch import Watch

__all__ = [
    "CAUSES",
    "Cause",
    "Diary",
    "Finding",
    "Report",
    "Seen",
    "Severity",
    "Watch",
    "add_up",
    "diagnostics_in",
    "lint",
    "rates_from",
]
