"""The table: rows decided and ended, in a journal file or a database behind one door."""
