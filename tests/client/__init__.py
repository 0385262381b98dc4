"""Workflows as they are seen from outside."""
