"""A process that saves rows and publishes a message for each, from several threads, until its input ends.

Its name is its argument. It prints JSON at the end: the seconds that the longest request took, by kind, and the errors.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable

KINDS = ("always", "fallback", "outside")
# Of each kind. Ten of a process, as many as it keeps connections to a server, wait for a reply at once.
THREADS = 3
# In seconds, between a thread's requests.
PAUSE = 0.02


def main() -> None:
    """Publish until told to end, then print what became of it."""
    import django  # noqa: PLC0415  before anything that needs the settings

    django.setup()

    from django.db import connection, transaction  # noqa: PLC0415  as above

    from django_redis_streams import publish  # noqa: PLC0415  as above

    def save(name: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO saved VALUES (%s)", [name])

    def always(name: str) -> None:
        with transaction.atomic():
            save(name)
            publish("orders", name, type="effect")

    def fallback(name: str) -> None:
        with transaction.atomic():
            save(name)
            publish("views", name, type="effect")

    def outside(name: str) -> None:
        save(name)
        publish("views", name, type="effect")

    requests: dict[str, Callable[[str], None]] = {"always": always, "fallback": fallback, "outside": outside}
    ends = threading.Event()
    longest: dict[str, float] = defaultdict(float)
    errors: list[str] = []

    def run(kind: str, thread: int) -> None:
        number = 0
        try:
            while not ends.wait(PAUSE):
                began = time.monotonic()
                requests[kind](f"{kind} {sys.argv[1]} {thread} {number}")
                longest[f"{kind} {thread}"] = max(longest[f"{kind} {thread}"], time.monotonic() - began)
                number += 1
        except BaseException as error:  # noqa: BLE001  the test shows it
            errors.append(f"{kind}: {error!r}")
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[kind, number]) for kind in KINDS for number in range(THREADS)]
    for each in threads:
        each.start()
    sys.stdin.read()
    ends.set()
    for each in threads:
        each.join()
    by_kind = {kind: max(longest[f"{kind} {number}"] for number in range(THREADS)) for kind in KINDS}
    json.dump({"longest": by_kind, "errors": errors}, sys.stdout)


if __name__ == "__main__":
    main()
