"""Any OpenAI-compatible model server: what it is asked, what it answers, and what is known of it."""
