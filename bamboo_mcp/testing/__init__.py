"""Doubles for tests, ours and plugin authors': scripted models, fake servers, port contracts.

May import: everything below it. Nothing but tests imports it.
"""
