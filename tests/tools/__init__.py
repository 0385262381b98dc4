"""Programs beside the tests: what records the histories, and the proof of a serial lane under load."""
