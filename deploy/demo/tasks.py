"""A job with Ray tasks: some run, some wait for a resource that no node has.

usage: tasks.py [SECONDS that a running task takes]
"""

import sys
import time

import ray


@ray.remote(num_cpus=0)
def crunch(seconds):
    print(f"task: crunching for {seconds} s", flush=True)
    time.sleep(seconds)


@ray.remote(num_cpus=0, resources={"quantum_computer": 1})
def factorize():
    pass


seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5
ray.init(log_to_driver=False)
waiting = [factorize.remote() for _ in range(3)]
while True:
    ray.get([crunch.remote(seconds) for _ in range(2)])
    print("two more are crunched", flush=True)
