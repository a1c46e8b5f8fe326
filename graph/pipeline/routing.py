"""The router of calls to a stage, which selects the replica of each call.

Serve pickles this module by value into every process that calls a stage (Ray 2.60,
`RequestRouterConfig`). It has no module-level state, as each router there would get its own copy.
"""

import random
import time
from collections import Counter
from typing import Any

from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

from graph.pipeline.replicas import register
from graph.serve_private import PowerOfTwoChoicesRequestRouter, WillingReplica

# An ejected replica is tried again after this many times `hedge_after_s` without an answer.
_EJECTION_PERIODS = 4


class LeastOutstandingRequests(PowerOfTwoChoicesRequestRouter):
    """A power-of-two-choices router by this process's own count of outstanding calls.

    A call counts from its sending to its end. Serve's own router takes the queue length that the
    replica reports when it accepts a call, but here replicas are not asked for it
    (graph/serve_private.py, WillingReplica). A replica's own report counts only if a probe says
    that it is full, until another says otherwise.

    Outlier ejection: a replica that hangs would soon have the fewest outstanding calls, as those
    sent to it are cancelled. A replica that has answered no call for `hedge_after_s` since one was
    sent to it gets no calls while there are others.
    """

    def initialize_state(self, **options: Any) -> None:
        self._eject_after_s = float(options["hedge_after_s"])
        self._unanswered_since: dict[ReplicaID, float] = {}  # time.monotonic()
        self._outstanding: Counter[ReplicaID] = Counter()
        self._full: set[ReplicaID] = set()

    def create_replica_wrapper(self, replica_info: Any) -> RunningReplica:
        return WillingReplica(replica_info)

    def on_send_request(self, replica_id: ReplicaID) -> None:
        self._full.discard(replica_id)
        self._outstanding[replica_id] += 1
        self._update_queue_length(replica_id)
        self._unanswered_since.setdefault(replica_id, time.monotonic())

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        super().on_request_completed(replica_id, internal_request_id)
        self._outstanding[replica_id] = max(0, self._outstanding[replica_id] - 1)
        self._update_queue_length(replica_id)
        # An ejected replica's call may have ended because its caller left: that is no answer.
        if not self._is_ejected(replica_id):
            self._unanswered_since.pop(replica_id, None)

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        self._unanswered_since.pop(replica_id, None)
        replica = self.curr_replicas.get(replica_id)
        if replica is not None and num_ongoing_requests >= replica.max_ongoing_requests:
            self._full.add(replica_id)
            super().on_new_queue_len_info(replica_id, num_ongoing_requests)

    def decrement_queue_len_cache(self, replica_id: ReplicaID) -> None:
        """Does nothing: `on_request_completed` subtracts, and is called for cancelled calls too."""

    def _update_queue_length(self, replica_id: ReplicaID) -> None:
        if replica_id in self.curr_replicas and replica_id not in self._full:
            super().on_new_queue_len_info(replica_id, self._outstanding[replica_id])

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        register(self)
        current = self.curr_replicas.keys()
        self._full &= current
        self._outstanding = Counter({name: self._outstanding[name] for name in current})
        kept = self._unanswered_since.keys() & current
        self._unanswered_since = {name: self._unanswered_since[name] for name in kept}

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        chosen = await super().choose_replicas(candidate_replicas, pending_request)
        if not self._unanswered_since:
            return chosen
        ejected = {name for name in self._unanswered_since if self._is_ejected(name)}
        remaining = [[one for one in rank if one.replica_id not in ejected] for rank in chosen]
        if any(remaining):
            return remaining
        others = [one for name, one in self.curr_replicas.items() if name not in ejected]
        return [random.sample(others, min(2, len(others)))] if others else chosen

    def _is_ejected(self, replica_id: ReplicaID) -> bool:
        """True while the replica gets no calls. An ejection whose time is over ends here."""
        now = time.monotonic()
        unanswered_s = now - self._unanswered_since.get(replica_id, now)
        if unanswered_s > _EJECTION_PERIODS * self._eject_after_s:
            self._unanswered_since[replica_id] = now
            return False
        return unanswered_s > self._eject_after_s


def router(*, hedge_after_s: float) -> RequestRouterConfig:
    """The `request_router_config` of a stage's deployment."""
    return RequestRouterConfig.model_validate(
        {
            "request_router_class": f"{__name__}.{LeastOutstandingRequests.__name__}",
            "request_router_kwargs": {"hedge_after_s": hedge_after_s},
        }
    )
