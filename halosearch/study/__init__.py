"""A study start to end: the one room that knows every other."""
