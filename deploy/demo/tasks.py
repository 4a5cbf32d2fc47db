"""A job with Ray tasks: some run, some wait for a resource that no node has."""

import time

import ray


@ray.remote(num_cpus=0)
def crunch(seconds):
    time.sleep(seconds)


@ray.remote(num_cpus=0, resources={"quantum_computer": 1})
def factorize():
    pass


ray.init(log_to_driver=False)
waiting = [factorize.remote() for _ in range(3)]
while True:
    ray.get([crunch.remote(5) for _ in range(2)])
    print("two more are crunched", flush=True)
