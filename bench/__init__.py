"""The benchmark: what `worker.py` and `starter.py bulk` do in a second, beside what people would pick instead.

It measures the programs as users start them, from outside: client, worker and server are processes of their own, and
what they use is read from /proc. Nothing in the product knows of it.
"""
