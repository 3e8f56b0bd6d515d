"""The package under test mirrors bamboo_mcp; see README."""
