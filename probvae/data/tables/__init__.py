"""Tables: files read in batches, columns of different kinds, units."""
