"""Tests of the whole system as its users run it: a real server, real processes, the command line as a process."""
