"""A Serve application whose replicas print numbered lines, as workers.py does."""

import sys
import time

from ray import serve


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0})
class Printer:
    def __call__(self, request):
        count, seconds = int(request.query_params["count"]), float(request.query_params["seconds"])
        for k in range(count):
            line = "%06d %s" % (k, "x" * (k % 97))
            print("serve stdout " + line, flush=True)
            print("serve stderr " + line, file=sys.stderr, flush=True)
            time.sleep(seconds / count)
        return "printed\n"


app = Printer.bind()
