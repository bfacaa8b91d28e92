"""What a person has done: `dead_letters`, what is `waiting`, in `bulk`; and `erase` for tests."""
