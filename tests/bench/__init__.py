"""Tests of the benchmark's arithmetic, and that it reports no figures of orders that ended wrongly."""
