"""The bare loops: what a good engineer writes with redis-py and hiredis, without this package and without Django.

Each is a process: `python -m tests.benchmarks.bare NAME`. The publishers print what they measured.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import redis

from .publishing import HOW_MANY, each_tick, speed
from .work import PAYLOAD, mark, mark_time, sleep

STREAM = "orders"
GROUP = "bare"
COUNT = 100
THREADS = 8
PIPELINED = 1000


def client() -> Any:
    """Return a client that returns text: `json.loads` is a tenth faster for text than for bytes."""
    return redis.Redis.from_url(os.environ["BENCH_URL"], decode_responses=True)


def drain(handle: Callable[[Any], None]) -> NoReturn:
    """Read 100 messages, handle each, acknowledge all with one XACK; for ever."""
    server, consumer = client(), f"{os.getpid()}-{threading.get_ident()}"
    while True:
        for _, entries in server.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=COUNT, block=1000):
            for _, fields in entries:
                handle(json.loads(fields["data"]))
            server.xack(STREAM, GROUP, *[entry_id for entry_id, _ in entries])


def drain_with_orjson() -> NoReturn:
    """Do the same with the fastest parser there is, which takes bytes as they are."""
    import orjson  # noqa: PLC0415  only this loop has it

    server, consumer = redis.Redis.from_url(os.environ["BENCH_URL"]), str(os.getpid())
    while True:
        for _, entries in server.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=COUNT, block=1000):
            for _, fields in entries:
                mark(orjson.loads(fields[b"data"]))
            server.xack(STREAM, GROUP, *[entry_id for entry_id, _ in entries])


def drain_in_threads() -> None:
    """Do the same in 8 threads, with a handler that sleeps."""
    threads = [threading.Thread(target=drain, args=(sleep,)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def publish_one_by_one() -> None:
    """Publish with one XADD a message."""
    server = client()

    def publish() -> None:
        server.xadd(STREAM, {"data": json.dumps(PAYLOAD)})

    sys.stdout.write(str(speed(publish, 1, HOW_MANY)))


def publish_by_pipeline() -> None:
    """Publish with a pipeline of 1000 XADDs, again and again."""
    server = client()

    def publish() -> None:
        pipeline = server.pipeline(transaction=False)
        for _ in range(PIPELINED):
            pipeline.xadd(STREAM, {"data": json.dumps(PAYLOAD)})
        pipeline.execute()

    sys.stdout.write(str(speed(publish, PIPELINED, HOW_MANY * 10)))


def fill() -> None:
    """Publish as many messages as the second argument says, for the other loops to drain."""
    server = client()
    pipeline = server.pipeline(transaction=False)
    for number in range(int(sys.argv[2])):
        pipeline.xadd(STREAM, {"data": json.dumps(PAYLOAD)})
        if number % PIPELINED == PIPELINED - 1:
            pipeline.execute()
    pipeline.execute()


def publish_each_tick() -> None:
    """Publish a message every 10 ms."""
    server = client()
    sys.stdout.write(json.dumps(each_tick(lambda: server.xadd(STREAM, {"data": json.dumps(PAYLOAD)}))))


LOOPS: dict[str, Callable[[], None]] = {
    "json": lambda: drain(mark),
    "orjson": drain_with_orjson,
    "threads": drain_in_threads,
    "latency": lambda: drain(mark_time),
    "one": publish_one_by_one,
    "many": publish_by_pipeline,
    "ticks": publish_each_tick,
    "fill": fill,
}

if __name__ == "__main__":
    LOOPS[sys.argv[1]]()
