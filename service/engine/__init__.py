"""The engine: a scheduler that decides, runners that compute, a loop that connects them."""
