"""Fetching a page of the public web: what is asked for, where it may lead, and what is read of it."""
