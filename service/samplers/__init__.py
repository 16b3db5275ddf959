"""Samplers: pure NumPy, no graph, no clock, no shared randomness."""
