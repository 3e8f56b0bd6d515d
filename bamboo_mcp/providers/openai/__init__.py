"""OpenAI models by the Responses API, and compatible servers by Chat Completions."""
