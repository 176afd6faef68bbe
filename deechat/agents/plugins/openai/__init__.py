"""The dialects of OpenAI's API: chat completions, and responses."""
