"""Chaos on real processes: thousands of faults, kills and cuts under load, and nothing lost at the end.

| module | holds |
|---|---|
| `proxy` | the TCP proxy that cuts, delays and half-closes what goes through it |
| `villains` | who strikes, how often and how hard |
| `orders` | what is ordered, and what must be left of stock and money for it |
| `acts` | the storm, the absence, and the calm in which everything must be right |
| `report` | the summary, for people and as one JSON line |
| `__main__` | `python -m tests.chaos` |
"""
