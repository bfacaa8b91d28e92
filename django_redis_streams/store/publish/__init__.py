"""What publishing asks of the server: to `append` an entry, or to keep it until it is due (`delay`)."""
