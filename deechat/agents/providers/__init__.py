"""Those who answer: `base` is the seam and its fake, `openai` any OpenAI-compatible server, `offline` ourselves."""
