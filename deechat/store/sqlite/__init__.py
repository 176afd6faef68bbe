"""The store in one SQLite file: one writer thread, group commits, checksums of each row."""
