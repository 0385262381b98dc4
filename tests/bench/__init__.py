"""The benchmark's arithmetic, and that it refuses to report what did not happen."""
