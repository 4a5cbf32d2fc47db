"""A small Serve application for the demo and the tests."""

from ray import serve


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0})
class Greeter:
    async def __call__(self, request):
        print("replica: greets", request.client.host, flush=True)
        return "hello from Ray Serve\n"


app = Greeter.bind()
