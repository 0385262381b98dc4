"""The commands of `starter.py`: options, a call to `client`, and what is shown of the answer (`show`)."""
