"""What ships, contributed through the same hooks as anybody's plugin.

May import: everything below. Nothing here is imported before its hook is asked, and what a hook
names by its place (`package.module:function`) not before it is used.
"""
