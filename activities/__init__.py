"""The services: a module each, with its operations and its tables, and the fence they all pass.

| module | holds |
|---|---|
| `database` | the connection of one service to its own database, and its schema's versions |
| `postgresql`, `sqlite` | that connection on a server, which may fall silent, and in a file, which may be deleted |
| `group_commit` | what is asked for at once shares one local transaction |
| `binding`, `opening` | to which Temporal a database belongs, and whether a worker may work on it |
| `records` | rows as frozen dataclasses: declared, loaded, and saved under a version check |
| `fence` | the rule that makes every operation idempotent |
| `service` | an operation from request to commit, and the activities Temporal calls |
| `order`, `payment`, `inventory`, `shipping`, `notification` | the domain: decisions as pure functions |
"""
