"""Which replica of a stage a call goes to."""

import time
from collections import Counter
from typing import Any
from weakref import WeakSet

from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from graph.serve_private import PowerOfTwoChoicesRequestRouter, deployment_of

# A replica that was passed over for this many times `hedge_after_s` gets another chance.
_PASSED_OVER = 4


class LeastOutstandingRequests(PowerOfTwoChoicesRequestRouter):
    """Of two replicas, the one that fewer of this caller's calls are at.

    Serve counts so too, but then sets its count to what the replica said when it took the call.
    Directly, by gRPC, that arrives only with the answer (Ray 2.60): the count is what it was long
    ago, and one replica stands idle while calls queue at another. For the same reason Serve never
    takes back a call that was given up before its answer. Here calls are counted from when they are
    sent until they end, and what a replica says is believed only when it refuses one: until a probe
    says otherwise, it is full.

    A replica that hangs would soon have fewest calls of all, as those sent to it are given up. One
    that was sent a call and has answered none since, for `hedge_after_s`, is passed over.
    """

    def initialize_state(self, **options: Any) -> None:
        self._silent_after_s = float(options["hedge_after_s"])
        self._unanswered_since: dict[ReplicaID, float] = {}
        self._under_way: Counter[ReplicaID] = Counter()
        self._refused: set[ReplicaID] = set()

    def on_send_request(self, replica_id: ReplicaID) -> None:
        self._refused.discard(replica_id)
        self._under_way[replica_id] += 1
        self._tell_count(replica_id)
        self._unanswered_since.setdefault(replica_id, time.monotonic())

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        super().on_request_completed(replica_id, internal_request_id)
        self._under_way[replica_id] = max(0, self._under_way[replica_id] - 1)
        self._tell_count(replica_id)
        if not self._is_silent(replica_id):  # a caller that went away tells nothing of a replica
            self._unanswered_since.pop(replica_id, None)

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        self._unanswered_since.pop(replica_id, None)
        replica = self.curr_replicas.get(replica_id)
        if replica is not None and num_ongoing_requests >= replica.max_ongoing_requests:
            self._refused.add(replica_id)
            super().on_new_queue_len_info(replica_id, num_ongoing_requests)

    def decrement_queue_len_cache(self, replica_id: ReplicaID) -> None:
        """`on_request_completed` counts, which hears of calls that were given up as well."""

    def _tell_count(self, replica_id: ReplicaID) -> None:
        if replica_id in self.curr_replicas and replica_id not in self._refused:
            super().on_new_queue_len_info(replica_id, self._under_way[replica_id])

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        watch(self)
        there = self.curr_replicas.keys()
        self._refused &= there
        self._under_way = Counter({name: self._under_way[name] for name in there})
        kept = self._unanswered_since.keys() & there
        self._unanswered_since = {name: self._unanswered_since[name] for name in kept}

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        chosen = await super().choose_replicas(candidate_replicas, pending_request)
        if not self._unanswered_since:
            return chosen
        silent = {name for name in self._unanswered_since if self._is_silent(name)}
        awake = [[one for one in rank if one.replica_id not in silent] for rank in chosen]
        if any(awake):
            return awake
        others = [one for name, one in self.curr_replicas.items() if name not in silent]
        return [others[:2]] if others else chosen

    def _is_silent(self, replica_id: ReplicaID) -> bool:
        now = time.monotonic()
        unanswered_s = now - self._unanswered_since.get(replica_id, now)
        if unanswered_s > _PASSED_OVER * self._silent_after_s:
            self._unanswered_since[replica_id] = now
            return False
        return unanswered_s > self._silent_after_s


def router(*, hedge_after_s: float) -> RequestRouterConfig:
    return RequestRouterConfig.model_validate(
        {
            "request_router_class": f"{__name__}.{LeastOutstandingRequests.__name__}",
            "request_router_kwargs": {"hedge_after_s": hedge_after_s},
        }
    )


_routers: WeakSet[RequestRouter] = WeakSet()


def watch(router: RequestRouter) -> None:
    """`router` has been told its replicas, and will be of every change."""
    _routers.add(router)


def known_replicas(handle: DeploymentHandle[Any]) -> int | None:
    """None as long as Serve has told this process nothing."""
    counts = [
        len(router.curr_replicas)
        for router in list(_routers)
        if deployment_of(router) == handle.deployment_id
    ]
    return max(counts, default=None)
