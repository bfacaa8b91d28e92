"""The admin, through Django's test client, which checks CSRF tokens as a browser's requests are checked."""
