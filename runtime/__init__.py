"""The technical parts of every process: settings, the connection, logs, the embedded server, fault injection."""
