"""A job that fails after a while."""

import time

for row in range(5):
    print(f"checking row {row}", flush=True)
    time.sleep(2)
raise ValueError("row 5 has no label: naïve data, 漢字 included")
