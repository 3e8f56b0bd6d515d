"""The MCP surface: any `ToolExecutor` as an MCP server, in both protocol eras.

May import: the SDK (`mcp`, `mcp_types`), `tools` and all below it. Nothing here knows what the
tools do.
"""
