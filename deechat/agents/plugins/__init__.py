"""Plugins turn events into one transport's frames: `base` has the table, `sse` a wire."""
