"""`python -m bamboo_mcp`: the same as `bamboo-mcp`."""

from bamboo_mcp.cli import main

if __name__ == "__main__":
    main()
