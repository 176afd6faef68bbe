"""Durable Streams: a run's log as a stream that others only read."""
