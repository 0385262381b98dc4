"""The whole system as its users meet it: real server, real processes, the command line as a subprocess."""
