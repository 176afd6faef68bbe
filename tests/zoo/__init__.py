"""Habits of model servers that people met, each as an animal: what it answers, and what a person should see.

A new report is one entry: put it into the file of its kind, with its source. `tests/test_zoo.py` walks all of them
past the program's HTTP interface, its terminal and its page.
"""
