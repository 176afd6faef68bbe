"""AG-UI 1.0: its one address a workspace, over our runs."""
