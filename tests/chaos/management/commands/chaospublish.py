"""`manage.py chaospublish NAME`: a publisher of the stage."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Publishes until SIGTERM."""

    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name that begins its messages' numbers."""
        parser.add_argument("name")

    def handle(self, *, name: str, **_: Any) -> None:
        """Publish."""
        from tests.chaos.publisher import main  # noqa: PLC0415  what it imports needs settings

        main(name)
