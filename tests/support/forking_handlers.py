"""Handlers that fork or start programs, by a message's `type`, and write down the processes that they make."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.dispatch import receiver

from django_redis_streams import signals
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message

from .obedient_handlers import note

ELSEWHERE = multiprocessing.get_context("fork")


def note_pid(what: str, pid: int) -> None:
    """Write down a new process."""
    with Path(os.environ["TEST_RUNS"]).open("a") as file:
        file.write(f"{what} {pid}\n")


def fork(how: Callable[[], int] = os.fork) -> bool:
    """Fork; return whether this is the child. The parent waits for the child's end before it returns."""
    pid = how()
    if pid:
        note_pid(f"forked {code_of(pid)}", pid)
    return not pid


def code_of(pid: int) -> int | None:
    """Return the exit code of a child; None if it doesn't end.

    Under coverage, which begins anew in each child, that takes long on a machine with much else to do.
    """
    until = time.monotonic() + 120
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def end_as(do: str) -> None:
    """End a child's part in a handler in one of several ways."""
    match do:
        case "exit":
            sys.exit(3)
        case "raise":
            raise LookupError("in the child")
        case "return":
            sys.stdout.write("said in the child\n")


@handler("orders", group="billing", type="fork")
def run(message: Message) -> None:
    """Fork in the way that `how` names, and leave the child to end by itself."""
    note("began", message)
    if fork(lambda: os.forkpty()[0] if message.payload.get("how") == "forkpty" else os.fork()):
        end_as(message.payload["do"])
        return
    note("ended", message)


@handler("orders", group="billing", type="fork-atomic", atomic=True)
def run_atomic(message: Message) -> None:
    """Fork in a transaction."""
    run(message)


@handler("orders", group="billing", type="fork-batch", batch=True)
def run_batch(messages: list[Message]) -> None:
    """Fork in the call for a batch."""
    run(messages[0])


@handler("orders", group="billing", type="fork-async")
async def run_async(message: Message) -> None:
    """Fork in a coroutine; the child may await something, which needs a working event loop."""
    await asyncio.sleep(0)
    note("began", message)
    if fork():
        if message.payload["do"].startswith("wait:"):
            await asyncio.sleep(float(message.payload["do"].removeprefix("wait:")))
            note("waited", message)
        end_as(message.payload["do"])
        return
    await asyncio.sleep(0.05)
    note("ended", message)


@handler("orders", group="billing", type="fork-async-batch", batch=True)
async def run_async_batch(messages: list[Message]) -> None:
    """Fork in a coroutine for a batch."""
    await run_async(messages[0])


@handler("orders", group="billing", type="fork-in-database-thread")
async def run_in_database_thread(message: Message) -> None:
    """Fork in the thread in which coroutines use the database."""
    await sync_to_async(run)(message)


@handler("orders", group="billing", type="fork-in-thread")
def run_in_thread(message: Message) -> None:
    """Fork in a thread that the handler starts."""
    thread = threading.Thread(target=run, args=[message])
    thread.start()
    thread.join()


@handler("orders", group="billing", type="fork-in-receiver")
def run_quietly(message: Message) -> None:
    """Do nothing: the receiver `told` forks."""


@receiver(signals.message_processed)
def told(message: Message, **_: Any) -> None:
    """Fork in a receiver of a signal."""
    if message.type == "fork-in-receiver":
        run(message)


@handler("orders", group="billing", type="pool")
def use_pool(message: Message) -> None:
    """Work in a pool of processes, and end it as `with` does: by terminating them."""
    with ELSEWHERE.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    note("ended", message)


@handler("orders", group="billing", type="terminate")
def terminate(message: Message) -> None:
    """Terminate a child that does nothing."""
    child = ELSEWHERE.Process(target=time.sleep, args=[600])
    child.start()
    child.terminate()
    child.join(20)
    note(f"ended-by {child.exitcode}", message)


@handler("orders", group="billing", type="interrupt")
def interrupt(message: Message) -> None:
    """Start a program and interrupt it."""
    program = subprocess.Popen(["sleep", "600"])
    program.send_signal(signal.SIGINT)
    try:
        note(f"ended-by {program.wait(10)}", message)
    finally:
        program.kill()


@handler("orders", group="billing", type="state")
def tell_state(message: Message) -> None:
    """Write down which signal state a forked child has: handlers, the mask and the wakeup fd."""
    noted = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

    def tell() -> None:
        here = [signal.getsignal(each) for each in noted]
        plain = here == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]
        mask, wakeup = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1)
        note(f"state {plain} {not mask} {wakeup}", message)

    child = ELSEWHERE.Process(target=tell)
    child.start()
    child.join()


def sleep_deaf(deaf: int) -> None:
    """Sleep on, ignoring requests to end; the pipe `deaf` tells when it ignores them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(deaf, b"deaf")
    time.sleep(600)


def start_deaf() -> Any:
    """Start a process that ignores signals from when this returns."""
    reading, writing = os.pipe()
    child = ELSEWHERE.Process(target=sleep_deaf, args=[writing])
    child.start()
    os.read(reading, 4)
    os.close(reading)
    os.close(writing)
    return child


def start_sleeping(*, daemon: bool) -> Any:
    """Start a process that ends when it is asked to."""
    child = ELSEWHERE.Process(target=time.sleep, args=[600], daemon=daemon)
    child.start()
    return child


LEAVES: dict[str, Callable[[], Any]] = {
    "process": lambda: start_sleeping(daemon=False),
    "daemon": lambda: start_sleeping(daemon=True),
    "deaf": start_deaf,
}


@handler("orders", group="billing", type="leave")
def leave(message: Message) -> None:
    """Leave processes behind, and then do what the message's `then` says."""
    match message.payload["what"]:
        case "program":
            note_pid("left", subprocess.Popen(["sleep", "600"]).pid)
        case "session":
            note_pid("left", subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
        case "orphan":
            script = "setsid sleep 600 >&2 & echo $!"
            note_pid("left", int(subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout))
        case "executor":
            executor = ProcessPoolExecutor(1, mp_context=ELSEWHERE)
            note_pid("left", executor.submit(os.getpid).result())
            KEPT.append(executor)
        case what:
            note_pid("left", LEAVES[what]().pid)
    note("began", message)
    match message.payload["then"]:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stay":
            time.sleep(600)


KEPT: list[Any] = []
