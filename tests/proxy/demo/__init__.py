"""Tests of the demo: against a real PostgreSQL, and at the end the whole of it."""
