"""`bamboo-mcp demo`: a client starts the server, works with subagents and shows what happened."""
