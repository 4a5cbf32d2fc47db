"""Runs a program in Vector's language on events: vrl.py PROGRAM <EVENTS.

Of each event, a JSON object a line, the result is a line: what came out, or null
where the program failed.
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
