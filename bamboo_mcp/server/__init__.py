"""The MCP surface: any `ToolExecutor` as an MCP server, over a pipe or HTTP, in both eras.

May import: the SDK (`mcp`, `mcp_types`), starlette, uvicorn, `control` and all below it. Nothing
here knows what the tools do. What is named `http` is loaded only by `serve --http`.
"""
