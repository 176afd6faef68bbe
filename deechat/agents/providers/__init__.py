"""The providers: `base` is the seam and its fake, `openai` any OpenAI-compatible server, `offline` needs none."""
