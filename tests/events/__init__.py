"""Events for the outside: from the outbox of a service to a real NATS server."""
