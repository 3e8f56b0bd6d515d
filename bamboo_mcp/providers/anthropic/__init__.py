"""Claude models, through the anthropic SDK: requests encoded, raw events folded."""
