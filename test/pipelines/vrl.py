"""Runs a VRL program (Vector's language) on events: vrl.py PROGRAM <EVENTS.

Each event is a line with a JSON object. Each result is a line with the event after the
program, or null if the program failed.
"""

import json
import sys

from vrl_python import VRLRuntime

runtime = VRLRuntime()
with open(sys.argv[1], encoding="utf-8") as file:
    program = file.read()
runtime.compile(program)
for line in sys.stdin.buffer:
    try:
        result = runtime.execute(program, json.loads(line)).processed_event
    except RuntimeError as error:
        print(error, file=sys.stderr)
        result = None
    print(json.dumps(result))
