"""A job with very many tasks: some finish, some fail, some wait indefinitely.

usage: tasks.py FINISH FAIL WAIT

Prints "done" when the first two are over, and then waits to be stopped.
"""

import sys
import time

import ray


@ray.remote(num_cpus=1)
def finish():
    pass


@ray.remote(num_cpus=1, max_retries=0)
def fail():
    raise ValueError


@ray.remote(num_cpus=1, resources={"never": 1})
def wait():
    pass


def over(tasks, batch=1000):
    for first in range(0, len(tasks), batch):
        some = tasks[first : first + batch]
        ray.wait(some, num_returns=len(some))


finished, failed, waiting = map(int, sys.argv[1:])
ray.init(log_to_driver=False)
held = [wait.remote() for _ in range(waiting)]
while finished > 0:
    over([finish.remote() for _ in range(min(finished, 5000))])
    finished -= 5000
while failed > 0:
    over([fail.remote() for _ in range(min(failed, 5000))])
    failed -= 5000
print("done", flush=True)
time.sleep(3600)
