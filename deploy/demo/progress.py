"""A job with a progress bar, which returns to the line's start without a newline."""

import time

STEPS = 30
for done in range(STEPS + 1):
    bar = "█" * done + "·" * (STEPS - done)
    print(f"\r{100 * done // STEPS:3d}% |{bar}| {done}/{STEPS}", end="", flush=True)
    time.sleep(1)
print("\ndone")
