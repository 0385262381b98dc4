"""The container deployment, as far as it can be tested without Docker: its files, and its topology natively."""
