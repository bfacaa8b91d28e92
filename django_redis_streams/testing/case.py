"""For Django's TestCase, without pytest."""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

from ..message import Message
from .draining import Drained, drain
from .isolation import isolated
from .published import assert_published

__all__ = ["StreamsMixin"]


class StreamsMixin(unittest.TestCase):
    """Put it before Django's class: each test gets a server and a key prefix of its own, before its `setUp`.

    `streams_server` is "fake", "embedded" or "configured", as for `isolated`. Messages of `setUpClass`
    and `setUpTestData` go to the server of the settings.
    """

    streams_server: ClassVar[str] = "fake"

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test, isolated."""
        with isolated(self.streams_server):
            return super().run(result)

    def assertPublished(self, stream: str, **expected: Any) -> list[Message]:  # noqa: N802  as unittest names them
        """See `assert_published`."""
        return assert_published(stream, **expected)

    def drainStreams(self, *labels: str, **options: Any) -> Drained:  # noqa: N802  as above
        """See `drain`."""
        return drain(*labels, **options)
