"""Recorded histories: what production workflows wrote is replayed with every change."""
