"""Building blocks that a family file would be too long with; each file says what it is and where it comes from."""
