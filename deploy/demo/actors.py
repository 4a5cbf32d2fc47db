"""A job with an actor: what it prints is in the log of its worker, not of the driver."""

import time

import ray


@ray.remote(num_cpus=0)
class Trainer:
    def step(self, n):
        print(f"actor: step {n}", flush=True)
        time.sleep(1)


ray.init(log_to_driver=False)
trainer = Trainer.remote()
n = 0
while True:
    n += 1
    ray.get(trainer.step.remote(n))
