"""The log: events are appended and committed before anyone follows them; ended logs are compacted."""
