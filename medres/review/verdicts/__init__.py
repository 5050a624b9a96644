"""What readers say: the record of it, the database that keeps it whole, and what is made of it."""
