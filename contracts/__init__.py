"""What crosses the wire: a module per service with its messages and its operations, and nothing that runs.

Workflows and services meet only here. The models are frozen, refuse unknown fields, and bound every value.
"""
