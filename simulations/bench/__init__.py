"""Measurements of the pieces: nanoseconds per operation, never asserted in tests."""
