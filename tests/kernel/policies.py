"""Policies and times that more than one module needs."""

from datetime import timedelta

from temporal_saga import POLICIES, Policies, Policy

MINUTE = timedelta(minutes=1)
COLOCATED = POLICIES.colocated()
_ONCE = Policy(attempt_timeout=timedelta(seconds=10), attempts=1, total=timedelta(seconds=30))
ONE_ATTEMPT = Policies(undo=_ONCE, finish=_ONCE)
"""Undos, finishes and the pivot are parked after one attempt."""
LONG_SETTLE = Policies(settle=timedelta(hours=1))
MEDIUM_SETTLE = Policies(settle=timedelta(seconds=3))
"""Long enough for a test on a busy machine to cancel while a group settles."""
SHORT_SETTLE = Policies(settle=timedelta(milliseconds=500))
