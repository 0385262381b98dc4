"""Choreographed orders: participants, services and databases are real, and the test delivers the events."""
