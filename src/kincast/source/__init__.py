"""Source: rows in, one file per kind of database, one protocol."""
