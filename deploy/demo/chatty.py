"""A job that talks, as training loops do."""

import logging
import math
import time

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
log = logging.getLogger("train")

step = 0
while True:
    step += 1
    loss = 2.5 * math.exp(-step / 200) + 0.1 * abs(math.sin(step))
    log.info("step %d loss %.4f", step, loss)
    if step % 15 == 0:
        log.warning("step %d took longer than usual", step)
    time.sleep(1)
