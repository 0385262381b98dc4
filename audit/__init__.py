"""The operator's read-only view over every service's tables: proves the invariants, or lists what breaks them.

The one place that joins the services' databases, imported only by the command that runs it.

| module | holds |
|---|---|
| `report` | what an audit finds, as a document |
| `invariants` | what must hold inside one service's database, as SQL |
| `crossing` | what must hold between the databases and Temporal |
| `run` | one audit, from connecting to the report |
"""
