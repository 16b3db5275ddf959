"""The tasks: from a model and checked parameters to a job for the engine. They know no transport."""
