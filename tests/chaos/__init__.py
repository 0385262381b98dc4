"""Chaos on real processes: thousands of faults, kills and cuts under load, and nothing lost at the end.

| module | holds |
|---|---|
| `proxy` | the TCP proxy that cuts, delays and half-closes the connections through it |
| `fault_injectors` | what each fault injector does to the running system, how often and for how long |
| `orders` | the orders that are placed, and what stock and money must be left after them |
| `phases` | the phases of a run: faults under load, an outage of all workers, and the checks at the end |
| `report` | the summary, as tables and as one JSON line |
| `__main__` | `python -m tests.chaos` |
"""
