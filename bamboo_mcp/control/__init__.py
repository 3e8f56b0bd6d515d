"""The agent's own tools: subagents, models, health; the same for an MCP client and for a model.

May import: `tools` and all below it. Each module has `tools(services)`, its hook factory.
"""
