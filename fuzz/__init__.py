"""Fuzzing: random requests against the service, random bytes against everything that reads bytes. `make fuzz` runs both."""
