"""The comparisons of a group of requests, for the process that holds their embeddings."""

from collections.abc import Sequence

from configs.aggregator import AggregatorConfig
from deployments.aggregator.scoring import compare
from deployments.contracts import Comparison, Embeddings, Rules
from deployments.errors import FaceGraphError
from deployments.replica.groups import Slot, all_or_error
from deployments.replica.metrics import OnDone
from deployments.replica.workers import Stopwatch


def compare_group(
    config: AggregatorConfig,
    rules: Sequence[Rules],
    pools: Sequence[Sequence[Slot[Sequence[Embeddings]]]],
    on_done: OnDone,
) -> list[Slot[Comparison]]:
    """Compare the first face of each request's source with every face of its target.

    rules: by request, then by recognizer. pools: each recognizer's answer to the group: the
    embeddings of a request's source and target, or its error.
    """

    def compared(of_one: Rules, pairs: Slot[list[Sequence[Embeddings]]]) -> Slot[Comparison]:
        if isinstance(pairs, FaceGraphError):
            return pairs
        return _compared(config, of_one, pairs, on_done)

    return [
        compared(of_one, all_or_error(slots)) for of_one, *slots in zip(rules, *pools, strict=True)
    ]


def _compared(
    config: AggregatorConfig,
    rules: Rules,
    pairs: Sequence[Sequence[Embeddings]],
    on_done: OnDone,
) -> Comparison:
    watch = Stopwatch("compare", None)
    similarity = compare([(source, target) for source, target in pairs], rules, config)
    source, target = (part.faces for part in pairs[0])
    assert source is not None
    assert target is not None
    spans = dict.fromkeys(span for pair in pairs for part in pair for span in part.spans)
    return Comparison(similarity, source, target, (*spans, on_done(watch.stop())))
