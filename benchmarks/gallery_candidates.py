"""Similar faces among a search's candidates: python -m benchmarks.gallery_candidates [--faces N].

A gallery's made-up faces are those of benchmarks/gallery.py. Each probe has a given cosine to one
of them, in a random direction otherwise. It is missed if that face is not among the candidates, of
which a search computes the cosines: those that the replica's codes choose, and, beside them, the
364 faces at the smallest Hamming distances, which were the candidates before.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.gallery import made_up
from benchmarks.harness.results import draw_bars, report
from configs.gallery import SearchConfig
from deployments.contracts import EMBEDDING_SIZE, FloatArray
from deployments.gallery import codes
from deployments.gallery.vectors import code_bytes

COSINES = (0.30, 0.35, 0.40, 0.45)
CANDIDATES = SearchConfig().candidates + codes.SPARE
BEFORE = 364
_HEADER = EMBEDDING_SIZE.to_bytes(4, "big")


def kept(faces: FloatArray) -> codes.Codes:
    found = codes.Codes(since=1)
    found.add([(str(at), _HEADER + code_bytes(face), False) for at, face in enumerate(faces)])
    return found


def at_cosine(faces: FloatArray, cosine: float, rng: np.random.Generator) -> FloatArray:
    """A probe for each of the faces, float32 [N,512] of length 1."""
    away = rng.standard_normal(faces.shape, np.float32)
    away -= (away * faces).sum(axis=1, keepdims=True) * faces
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    probes: FloatArray = cosine * faces + np.float32(np.sqrt(1 - cosine**2)) * away
    return probes


def rows(count: int, probes: int, cosines: Sequence[float]) -> Iterator[tuple[object, ...]]:
    faces, _ = made_up(count)
    index, rng = kept(faces), np.random.default_rng(0)
    for cosine in cosines:
        shown = rng.integers(len(faces), size=probes)
        missed = before = 0
        for at, probe in zip(shown, at_cosine(faces[shown], cosine, rng), strict=True):
            missed += str(at) not in index.nearest(probe, CANDIDATES).ids
            asked = np.frombuffer(code_bytes(probe), np.uint8)[None]
            before += at not in index.index.search(asked, BEFORE)[1]
        yield cosine, f"{count:,}", probes, missed, before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--probes", type=int, default=1000, help="at each cosine")
    parser.add_argument("--cosines", type=float, nargs="+", default=COSINES)
    options = parser.parse_args()
    found = list(rows(options.faces, options.probes, options.cosines))
    report(
        "gallery_candidates",
        f"Faces that are not among {CANDIDATES} candidates, by codes and numbers",
        ("cosine", "faces", "probes", "missed", f"missed of {BEFORE} by distances"),
        found,
        draw=lambda axes: draw_bars(
            axes, [(f"cosine {row[0]}", float(str(row[3]))) for row in found], "missed"
        ),
    )


if __name__ == "__main__":
    main()
