"""What is kept. `sqlite` keeps it in one file."""
