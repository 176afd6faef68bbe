"""Addresses and connections. Nothing here knows of models, runs or pages."""
