"""Prints lines that the tests can predict.

usage: python3 -S -E printer.py MODE COUNT SECONDS

Line k of COUNT is text(k); the tests have the same function. MODE is how the lines are
written:

  lines      each line in one write
  partial    each line in two writes, with a pause between them
  split      each line in two writes, split within a multi-byte character
  progress   a carriage return before each line, like progress bars
  long       lines of 20 kB to 400 kB, the last one without a newline
  bytes      lines with bytes that are not UTF-8

It does not import Ray, and Python starts without site packages: a hundred of these
jobs must be cheap.
"""

import os
import sys
import time

# 1 to 4 bytes each, so that a character can be split at each of its bytes.
LETTERS = "aéñ漢字…🚀\u200bz"


def text(mode, k):
    if mode == "long":
        return b"%s %06d " % (mode.encode(), k) + b"x" * (20_000 + 38_000 * (k % 11))
    if mode == "bytes":
        return b"%s %06d " % (mode.encode(), k) + bytes([0x80 + k % 128, 0xC3, 0x28, 0xFF, 0x41])
    filler = LETTERS[k % len(LETTERS)] * (1 + k % 40)
    return ("%s %06d %s" % (mode, k, filler)).encode()


def put(data):
    while data:
        data = data[os.write(1, data):]


def put_line(mode, k, last, pause):
    line = text(mode, k)
    if mode == "progress":
        put(b"\r" + line)
    elif mode == "partial":
        # Between two characters: a job that is stopped in the pause leaves valid UTF-8,
        # since the WebSocket sends nothing else.
        cut = len(line.decode()[: len(line) // 4].encode())
        put(line[:cut])
        time.sleep(pause)
        put(line[cut:] + b"\n")
    elif mode == "split":
        # The last byte of the line is part of its last character.
        put(line[:-1])
        time.sleep(pause)
        put(line[-1:] + b"\n")
    elif mode == "long" and last:
        put(line)
    else:
        put(line + b"\n")


def main():
    mode, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    # Ray buffers its "Running entrypoint" line until it has started the entrypoint.
    # Without a pause, a line of this script could come before it or within it.
    time.sleep(0.5)
    start = time.monotonic()
    for k in range(count):
        due = start + seconds * k / count
        wait = due - time.monotonic()
        # Skip short waits: a sleep costs more than a line.
        if wait > 0.01:
            time.sleep(wait)
        put_line(mode, k, k == count - 1, min(0.3, seconds / count / 3))
    if mode == "progress":
        put(b"\n")
    sys.exit(int(sys.argv[4]) if len(sys.argv) > 4 else 0)


if __name__ == "__main__":
    main()
