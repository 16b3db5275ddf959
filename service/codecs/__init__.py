"""Bytes to arrays and back: one format a file. Every decoder bounds what it will allocate before it does."""
