"""How those who stand outside the workflows talk to the system: no printing, no exit codes, no command line.

| module | holds |
|---|---|
| `handles` | workflows as Temporal describes and lists them, whatever their status; a query that knows a pause |
| `silence` | why a workflow does not answer, and what is paused: a sentence and a remedy for each |
| `standing` | how an order stands, also where its workflow cannot say so |
"""
