"""Habits of model servers that people met, each as an animal: what it answers, and what a person should see.

A new report is one entry: put it into the file of its kind, with its source. All of them walk past the program's
HTTP interface (`tests/agents/providers/openai/test_zoo.py`), curl, its terminal and its page (`tests/test_zoo_*.py`).
"""
