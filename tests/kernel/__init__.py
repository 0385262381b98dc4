"""Tests of the saga kernel on a Temporal server that can skip time. The business of their sagas is a trip.

| module | holds |
|---|---|
| `test_every_fault` | each call in each fault, by the harness of the package (`temporal_saga.testing`) |
| `plan` | the trip's operations and its steps, as data that the workflow runs |
| `tree` | a saga of any shape as data, for the random ones |
| `workflows` | the workflows under test, first the one over the plan |
| `services` | the services: state in memory behind a fence, and behaviours that a test scripts |
| `harness` | starts one trip, stops it at a step, reads how it ended: for tests that the generated cases do not cover |
| `cancels`, `policies` | the ways to cancel, and the policies that several modules use |
| `expect` | what must hold when a trip has ended |
"""
