"""Tests of the saga kernel on a Temporal server that can skip time. The business of their sagas is a trip.

| module | holds |
|---|---|
| `plan` | the trip's operations and its steps, as data: the workflow runs it, the cases are made from it |
| `tree` | a saga of any shape as data, for the random ones |
| `workflows` | the workflows under test, first the one over the plan |
| `services` | the services: state in memory behind a fence, and behaviours that a test scripts |
| `harness` | starts trips, stops them at a step, reads how they ended |
| `cancels`, `policies` | the ways to cancel, and the policies that several modules use |
| `expect` | what must hold when a trip has ended |
"""
