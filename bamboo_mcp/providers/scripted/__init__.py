"""A model that plays a transcript: YAML read, requests matched, answers played."""
