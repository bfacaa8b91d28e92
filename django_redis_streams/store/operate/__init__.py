"""What is done by hand: to `dead_letters`, to what is `waiting`, in `bulk`; and `erase` for tests."""
