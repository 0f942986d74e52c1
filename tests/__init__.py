"""Tests mirror the rooms: tests/<room>/test_<file>.py; tests/support holds what they share."""
