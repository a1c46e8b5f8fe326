"""The models without a graph, on the CPU: python -m benchmarks.models [--only PART ...]"""

import argparse

from benchmarks.models import precision, runtimes, second_pass, small_groups

PARTS = {
    "runtimes": runtimes.measure,
    "second-pass": second_pass.measure,
    "small-groups": small_groups.measure,
    "precision": precision.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    for part in parser.parse_args().only:
        PARTS[part]()


if __name__ == "__main__":
    main()
