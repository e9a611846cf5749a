"""The table between the rooms: one row per trial, read and appended; it survives any crash."""
