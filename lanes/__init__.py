"""How orders are handed to the batch lane, by whoever has many: the command line, or a service that takes orders one by
one and waits for each.

| module | holds |
|---|---|
| `batches` | orders cut into batches, a batch started, its outcome |
| `outcome` | how the workflow of a single order ended |
| `coalesce` | orders that arrive one by one, gathered into batches |
"""
