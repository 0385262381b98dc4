"""A second execution of the same saga: its workflow is reset, or terminated and started again under its id."""
