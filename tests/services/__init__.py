"""The services on real databases: the fence, concurrency, batches, domain rules, migrations and failures."""
