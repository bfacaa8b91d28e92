"""Handlers that fork, and start programs, as a message's `type` says, and note the processes that they make."""

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
    """Write down a process that was made."""
    with Path(os.environ["TEST_RUNS"]).open("a") as file:
        file.write(f"{what} {pid}\n")


def fork(how: Callable[[], int] = os.fork) -> bool:
    """Fork; whether this is the child. The parent sees how the child ends before it goes on."""
    pid = how()
    if pid:
        note_pid(f"forked {code_of(pid)}", pid)
    return not pid


def code_of(pid: int) -> int | None:
    """The exit code of a child; None where it doesn't end."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def end_as(do: str) -> None:
    """End a child's part in a handler in one of the ways that there are."""
    match do:
        case "exit":
            sys.exit(3)
        case "raise":
            raise LookupError("in the child")
        case "return":
            sys.stdout.write("said in the child\n")


@handler("orders", group="billing", type="fork")
def run(message: Message) -> None:
    """Fork by the way that `how` names, and leave the child to end by itself."""
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
    """Fork in a call for several."""
    run(messages[0])


@handler("orders", group="billing", type="fork-async")
async def run_async(message: Message) -> None:
    """Fork in a coroutine; the child may wait for something, as only a process with an event loop can."""
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
    """Fork in a coroutine for several."""
    await run_async(messages[0])


@handler("orders", group="billing", type="fork-in-database-thread")
async def run_in_database_thread(message: Message) -> None:
    """Fork where coroutines reach the database."""
    await sync_to_async(run)(message)


@handler("orders", group="billing", type="fork-in-thread")
def run_in_thread(message: Message) -> None:
    """Fork in a thread of the handler's own."""
    thread = threading.Thread(target=run, args=[message])
    thread.start()
    thread.join()


@handler("orders", group="billing", type="fork-in-receiver")
def run_quietly(message: Message) -> None:
    """Leave the fork to who is told of this."""


@receiver(signals.message_processed)
def told(message: Message, **_: Any) -> None:
    """Fork in a receiver."""
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
    """Note what a forked child has of signals: handlers, the mask and the wakeup fd."""
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
    """Sleep on, whoever asks to end; this is told by the pipe `deaf` when it is so."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(deaf, b"deaf")
    time.sleep(600)


def start_deaf() -> Any:
    """Start a process that is deaf when this returns."""
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
    """Leave processes behind, and then do what the message says."""
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
