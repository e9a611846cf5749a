"""What may be built, and what it is: one folder per family; published tables."""
