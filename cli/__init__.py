"""The commands of `starter.py`: each module one group, `placing` what they share, `show` all that is printed."""
