"""HTTP: routes, bodies in, bodies out. Handlers parse, submit to the engine and encode."""
