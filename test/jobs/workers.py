"""Prints numbered lines in the workers of a Ray cluster.

usage: workers.py jobs NAME COUNT SECONDS | detached NAME COUNT SECONDS

jobs      four tasks, an actor that is killed and restarted halfway, and ten workers that
          each print one line, and a task whose worker is killed, which is an event of Ray
detached  a detached actor, which prints when the job has ended, too

Each process that prints has a name. Line k of COUNT is text(name, stream, k), on both
streams; the tests have the same function. Lines are flushed: Ray reads them from a pipe.
"""

import os
import signal
import sys
import time

import ray


def text(name, stream, k):
    return "%s %s %06d %s" % (name, stream, k, "x" * (k % 97))


def put(name, start, end, seconds):
    begin = time.monotonic()
    for k in range(start, end):
        print(text(name, "stdout", k), flush=True)
        print(text(name, "stderr", k), file=sys.stderr, flush=True)
        ahead = begin + seconds * (k + 1 - start) / (end - start) - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)


@ray.remote(num_cpus=0.1, scheduling_strategy="SPREAD")
def task(name, count, seconds):
    put(name, 0, count, seconds)


@ray.remote(num_cpus=0, max_calls=1, scheduling_strategy="SPREAD")
def short(name):
    put(name, 0, 1, 0)


@ray.remote(num_cpus=0, max_retries=0)
def crash():
    os.kill(os.getpid(), signal.SIGKILL)


@ray.remote(num_cpus=0, max_restarts=1, max_task_retries=0)
class Printer:
    def put(self, name, start, end, seconds):
        put(name, start, end, seconds)

    def pid(self):
        return os.getpid()


def restart(actor):
    killed = ray.get(actor.pid.remote())
    ray.kill(actor, no_restart=False)
    while True:
        try:
            if ray.get(actor.pid.remote()) != killed:
                return
        except ray.exceptions.RayActorError:
            pass
        time.sleep(0.1)


def jobs(name, count, seconds):
    tasks = [task.remote("%s-task-%d" % (name, i), count, seconds) for i in range(4)]
    actor, half = Printer.remote(), count // 2
    ray.get(actor.put.remote(name + "-actor", 0, half, seconds / 2))
    time.sleep(0.5)  # Ray has read the pipe
    restart(actor)
    ray.get(actor.put.remote(name + "-actor", half, count, seconds / 2))
    ray.get(tasks)
    ray.get([short.remote("%s-short-%d" % (name, i)) for i in range(10)])
    try:
        ray.get(crash.remote())
    except ray.exceptions.WorkerCrashedError:
        pass


def detached(name, count, seconds):
    actor = Printer.options(name=name, lifetime="detached").remote()
    ray.get(actor.put.remote(name, 0, 1, 0))
    actor.put.remote(name, 1, count, seconds)
    time.sleep(1)  # the call has left this process


ray.init(address="auto")
globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
