"""Prints different kinds of output, for the tests of older Rays.

usage: python3 -S -E prints.py short|unended|bytes|failing|returns|slow|big

It does not import Ray, and Python starts without site packages: Ray's own start of a
job is slow enough.
"""

import os
import sys
import time


def put(data):
    while data:
        data = data[os.write(1, data):]


def lines(first, last, text=b""):
    return b"".join(b"line %06d %s\n" % (k, text) for k in range(first, last))


def short():
    put(lines(0, 3))


def unended():
    put(lines(0, 5) + "the last line, naïve 漢字, has no newline".encode())


def bytes_():
    put(lines(0, 12))
    put(b"not UTF-8: \xff\xfe\x80 here\n")
    put(lines(12, 20) + b"the end \xc3")


def failing():
    put(lines(0, 4))
    sys.exit(3)


def returns():
    for k in range(200):
        put(b"\r%3d%%|####" % k)
        if k % 20 == 0:
            time.sleep(0.3)
    put(b"\r\nwindows\r\n\r\n" + lines(0, 2))


def slow():
    for k in range(24):
        put(b"half of ")
        time.sleep(0.2)
        put(lines(k, k + 1))
        time.sleep(0.8)


def big():
    for k in range(0, 200_000, 2000):
        put(lines(k, k + 2000, b"of many"))
        time.sleep(0.2)


if __name__ == "__main__":
    mode = sys.argv[1]
    # Ray writes its own first lines while the entrypoint starts.
    time.sleep(0.5)
    globals()[mode if mode != "bytes" else "bytes_"]()
