"""The saga kernel, on a real Temporal server whose clock can be skipped. The business is a trip that nobody sells.

| module | holds |
|---|---|
| `plan` | the trip's operations and its steps, as data: what the workflow runs and what the cases are made from |
| `tree` | a saga of any shape as data, for the random ones |
| `workflows` | the workflows under test, the one over the plan first |
| `services` | the services, with real state, and what a test makes of their behaviour |
| `harness` | starts trips, stops them at a step, reads how they ended |
"""
