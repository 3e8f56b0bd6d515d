"""Language models: the services we can talk to, and the catalog that picks one.

May import: `contributions`, `ports`, `domain`. A vendor's SDK is imported only by its own file, and
that file only when a model of it is first used.
"""
