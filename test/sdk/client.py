"""Runs the published client of Synapse agents, step by step.

Reads one JSON object from stdin: the agent's base URL, the tokens and a list of steps.
Writes one JSON object per line and step: its result, and its error, if there was one.
"""

import json
import sys

from synapse_sdk.clients.agent import AgentClient
from synapse_sdk.exceptions import ClientError

TAILS = {
    "websocket": "websocket_tail_job_logs",
    "http": "stream_tail_job_logs",
}


def tail(client, step, received):
    """Follows a log and appends its messages to received."""
    for name, value in step.get("limits", {}).items():
        setattr(client.stream_limits, name, value)
    protocol, timeout = step.get("protocol", "auto"), step.get("timeout", 30)
    method = TAILS.get(protocol) if step.get("direct") else None
    if method:
        lines = getattr(client, method)(step["args"][0], timeout=timeout)
    else:
        lines = client.tail_job_logs(step["args"][0], timeout=timeout, protocol=protocol)
    for line in lines:
        received.append(line)


def run(client, step):
    """Returns the result of a step, and its error."""
    value = []
    try:
        if step["op"] == "tail":
            tail(client, step, value)
        else:
            value = getattr(client, step["op"])(*step.get("args", []))
            if hasattr(value, "model_dump"):
                value = value.model_dump(mode="json")
    except ClientError as e:
        return {"value": value, "code": e.status_code, "error": str(e)}
    return {"value": value}


def main():
    task = json.load(sys.stdin)
    for step in task["steps"]:
        client = AgentClient(task["url"], task["token"], user_token=task.get("user"), tenant=task.get("tenant"))
        print(json.dumps(run(client, step)), flush=True)


main()
