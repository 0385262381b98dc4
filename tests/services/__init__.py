"""The services on real databases: the fence, concurrency, lists, domain rules, migrations, and what breaks."""
