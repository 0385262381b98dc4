"""Finds orders that were left behind and has them finished. It needs Temporal and the services, but no table."""
