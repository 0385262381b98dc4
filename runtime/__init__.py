"""What every process needs and no business does: settings, the connection, logs, the embedded server, faults."""
