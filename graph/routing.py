"""Which replica of a stage a call goes to."""

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import ReplicaID, RunningReplica

from graph.replicas import watch


class CallsUnderWay(PowerOfTwoChoicesRequestRouter):
    """Of two replicas, the one that fewer of this caller's calls are at.

    Serve counts so too, but then sets its count to what the replica said when it took the call.
    Directly, by gRPC, that arrives only with the answer (Ray 2.60): the count is what it was long
    ago, and one replica stands idle while calls queue at another. Here only what a replica says
    when it refuses a call is believed.
    """

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        replica = self.curr_replicas.get(replica_id)
        if replica is None or num_ongoing_requests >= replica.max_ongoing_requests:
            super().on_new_queue_len_info(replica_id, num_ongoing_requests)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        watch(self)


ROUTER = RequestRouterConfig.model_validate(
    {"request_router_class": f"{__name__}.{CallsUnderWay.__name__}"}
)
