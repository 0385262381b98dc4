"""What commands read and print, and how they end: each in a process of its own, or without one; no system is needed."""
