"""The settings of the tests, for a project without the outbox."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _ALL

INSTALLED_APPS = [each for each in _ALL if "outbox" not in each]
