"""The business processes, as Temporal workflows. They know the contracts and the saga, never a service's code."""
