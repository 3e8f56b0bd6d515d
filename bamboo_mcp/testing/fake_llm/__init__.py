"""A language model service on loopback, scriptable, with the faults of a real one."""
