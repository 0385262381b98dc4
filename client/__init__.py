"""The system as seen from outside a workflow: no printing, no exit codes, no command line.

| module | holds |
|---|---|
| `orders` | `Orders`: an order placed, looked at, cancelled and redone, whichever way it travels |
| `engines` | the ways in which an order travels: saga, choreography, batch |
| `bulk` | many orders at a time |
| `transactions` | transactions given as data, and their turn in a serial lane |
| `look`, `to_come` | how one order stands, with its parked calls and the steps that are still to come |
| `listing`, `desk` | orders in rows; calls that do not get through, and decisions about them |
| `records`, `decisions` | what the order service has on record: orders, and what operators decided |
| `coordinators` | the workflows that may know a transaction |
| `retirement`, `erasure` | what goes away: old transactions, and a customer's personal data |
| `standing` | how a saga stands and how it ended, also where its workflow cannot say so |
| `silence` | why a workflow does not answer, and what is paused: a sentence and a remedy for each |
| `handles`, `updates` | workflows described, listed, queried and updated, whatever their status |
| `health` | what is wrong with an installation, as far as Temporal shows it |
| `outage` | how long a client outlives a Temporal that does not answer |
| `errors` | what a client is told instead of an answer |
"""
