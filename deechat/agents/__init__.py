"""The agent: it asks a model, runs its tools, and yields events. It knows no HTTP, no frame and no database."""
