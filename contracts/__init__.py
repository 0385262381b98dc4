"""The contracts between workflows, services and clients: messages and declared operations, and nothing that runs.

Each service has a module with its messages and its operations. Models are frozen and bound every value.
"""
