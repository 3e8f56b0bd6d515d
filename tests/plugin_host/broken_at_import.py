"""A plugin module that ends the interpreter when it is imported."""

raise SystemExit(7)
