"""The audit: a read-only view over every service's tables that proves the invariants, or lists the violations.

Only this package joins the services' databases, and only the commands `audit`, `demo` and `doctor` import it.

| module | holds |
|---|---|
| `report` | the document of an audit |
| `invariants` | the invariants inside one service's database, as SQL |
| `crossing` | the invariants between the databases and Temporal |
| `generic` | the same for transactions given as data |
| `skips` | what operators have left undone |
| `databases` | whether a database answers and is of this build and this Temporal |
| `run` | one audit, from connecting to the report |
"""
