"""What things are: frozen values without I/O, the vocabulary every other package speaks.

May import: the standard library and msgspec. Nothing of bamboo_mcp outside this folder.
"""
