"""The sub-commands of `manage.py deadletters`: `listing` looks, `changing` replays and discards."""
