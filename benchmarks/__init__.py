"""Measurements of the service, each a script that anyone can run."""
