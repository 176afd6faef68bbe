"""The calculator: an expression is read, then reckoned exactly as far as that goes."""
