"""What people write and what crosses the wire, as models: what they take, and what they say about the rest."""
