"""The services: one module each, with its operations and its tables, and the fence that they share.

| module | holds |
|---|---|
| `database` | the connection of a service to its own database, and the versions of its schema |
| `postgresql`, `sqlite` | that connection to a server, which may fall silent, and to a file, which may be deleted |
| `group_commit` | one local transaction for the calls of a busy moment |
| `binding`, `opening` | the Temporal that a database belongs to, and whether a worker may use the database |
| `records` | rows as frozen dataclasses, and the unit of work that loads and saves them |
| `fence` | the table of idempotency keys, and the rule that makes every operation take effect at most once |
| `service` | an operation from request to commit, and the activities that Temporal calls |
| `order`, `payment`, `inventory`, `shipping`, `notification` | the domain: decisions as pure functions |
"""
