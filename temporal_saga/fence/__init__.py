"""The fence: the reason why an operation of a service takes effect at most once, and never after its undo.

"Fence" is this package's word for a table of idempotency keys that is also a sub-transaction barrier, as in DTM
(dtm-labs, `client/dtmcli/barrier.go`). It is not a fencing token: nothing here compares numbers that grow.

| module | holds | imports |
|---|---|---|
| `rules` | the table of all cases, as pure functions | the standard library |
| `digest` | requests and replies as JSON, and the hash that compares two requests | the standard library |
| `arrival` | what arrives: the key of a call, what it asks for, and its reply | temporalio |
| `sql` | the fence for a service's own database | SQLAlchemy (`pip install "temporal-saga[sql]"`), temporalio |

A service with another kind of storage keeps the records itself, in the local transaction of its effect, and asks
`rules.admit` what to do.
"""
