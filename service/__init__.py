"""The serving side: one BentoML service, one engine, no torch."""
