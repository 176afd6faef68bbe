"""Any OpenAI-compatible model server: its requests, its answers, and its habits."""
