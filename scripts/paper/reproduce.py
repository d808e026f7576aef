"""Runs every experiment and writes the page. scripts/reproduce calls it."""

import argparse
import json
import os
import sys
import tempfile
import time

from scripts.paper import experiments, page
from scripts.paper.oracles import Programs, read_csv, version


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder of gradoracle and gradoracle-server")
    parser.add_argument("--data", required=True, help="the bundled house-price data")
    parser.add_argument("--out", default="docs/paper", help="folder to write into")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--only", help="one experiment, by name; its result on stdout, nothing written")
    args = parser.parse_args()

    def progress(text):
        print(f"reproduce: {time.monotonic() - started:5.0f} s  {text}", file=sys.stderr, flush=True)

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gradoracle-paper.") as folder:
        programs = Programs(args.bin, folder)
        house = read_csv(args.data)
        results = {}
        for name, run in experiments.ALL.items():
            if args.only and name != args.only:
                continue
            progress(name)
            results[name] = run(programs, house, 2 if args.quick else None)
        about = {"version": version(programs), "date": time.strftime("%Y-%m-%d"),
                 "seconds": round(time.monotonic() - started), "quick": args.quick}
    if args.only:
        print(json.dumps(results, indent=1))
        return
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "results.json"), "w") as file:
        json.dump({"about": about, **results}, file, indent=1)
        file.write("\n")
    page.write(args.out, about, results)
    progress(f"written to {args.out}")


if __name__ == "__main__":
    main()
