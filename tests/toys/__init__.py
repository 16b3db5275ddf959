"""Models so small that they are made in a moment: one for each capability, in directories that the service loads."""
