"""The container deployment, tested without Docker: its files, and its topology as native processes."""
