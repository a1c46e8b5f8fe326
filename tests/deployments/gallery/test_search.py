"""The search by candidates, beside all cosines."""

import asyncio
import json
from base64 import b64encode

import numpy as np

from configs.gallery import SearchConfig
from deployments.contracts import EMBEDDING_SIZE
from deployments.gallery.contracts import SearchQuery
from deployments.gallery.vectors import widest_distance
from tests.support.galleries import KEY, embedded, identities, opened, with_gallery


def test_the_horizon_is_an_angle_in_bits() -> None:
    # A cosine of 0.5 is 60 degrees, a third of 180; of 0, the half; of -1, all.
    assert widest_distance(0.5) == 171
    assert widest_distance(0.0) == 256
    assert widest_distance(-1.0) == EMBEDDING_SIZE


def test_candidates_find_what_all_cosines_find(dsn: str) -> None:
    """3,000 faces of 750 persons, and a second gallery of the same faces beside them."""

    async def run() -> None:
        faces = identities(751, faces=5)[:750]
        lines = [
            {
                "person": f"p{number}",
                "faces": [
                    {"id": f"f{number}-{index}", "embedding": b64encode(face.tobytes()).decode()}
                    for index, face in enumerate(own[:4])
                ],
            }
            for number, own in enumerate(faces)
        ]
        content = "\n".join(json.dumps(line) for line in lines).encode()
        probes = faces[:100, 4]
        exact = np.einsum("pd,nfd->pnf", probes, faces[:, :4]).max(axis=2)  # [100,750]
        async with opened(dsn, search=SearchConfig(exact_up_to=0)) as store:
            for gallery in ("staff", "guests"):
                await with_gallery(store, gallery)
                assert (await store.import_lines(gallery, content, key=KEY)).faces == 3000
            for kept in (False, True):  # by a scan, and by the codes in memory
                if kept:
                    await store.keep_codes("staff")
                for number, probe in list(enumerate(probes))[kept::2]:
                    found = await store.search([embedded(probe)], SearchQuery("staff", top_k=1))
                    [best] = found.faces[0].candidates
                    assert best.person == f"p{np.argmax(exact[number])}"
                    assert abs(best.similarity - exact[number].max()) < 1e-6
            recall = await store.check_recall("staff", sample=50)
            assert (recall.searched, recall.found) == (50, 50)
            assert recall.genuine == recall.genuine_found > 40

    asyncio.run(run())
