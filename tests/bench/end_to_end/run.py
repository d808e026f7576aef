"""gradoracle against its own engine and against a Python peer: one table, every contender interleaved, medians.

For each (batch size n, dimension d): synthetic data (N rows) in a .npy file, one gradoracle-server, one Python peer
server, and clients that ask both for the same m gradients at w = 0 and form their covariance. Each round runs every
contender once; the table holds medians over the rounds. Read the ratios: absolute rates belong to the machine.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile

from processes import idle_shares, progress, server, worker, write_data

# (n, d): (N, m)
CASES = {(64, 10): (100_000, 32768), (256, 31): (100_000, 16384), (256, 100): (100_000, 16384), (1024, 1000): (20_000, 2048)}
IDLE = 0.9


def measure(args, folder, n, d):
    """Seconds of each contender in each round, and whether both cores were idle when two streams started."""
    rows, count = CASES[n, d]
    data = os.path.join(folder, f"{d}.npy")
    progress(f"(n, d) = ({n}, {d}): data, N = {rows}")
    write_data(data, rows, d)
    program = os.path.join(args.bin, "end_to_end_bench")
    python = [sys.executable, os.path.join(args.peer, "peer_client.py")]
    size = ["--batch-size", str(n), "--count", str(count)]
    with contextlib.ExitStack() as stack:
        oracle = stack.enter_context(server([os.path.join(args.bin, "gradoracle-server"), "serve", "--data", data,
                                             "--listen", "127.0.0.1:0", "--log-level", "error"], folder, f"oracle-{d}"))
        peer = stack.enter_context(server([sys.executable, os.path.join(args.peer, "peer_server.py"), "--data", data],
                                          folder, f"peer-{d}"))
        engine = stack.enter_context(worker([program, "engine", "--data", data] + size))
        one = stack.enter_context(worker([program, "stream", "--oracle", oracle, "--streams", "1"] + size))
        two = stack.enter_context(worker([program, "stream", "--oracle", oracle, "--streams", "2"] + size))

        def run_python(form):
            command = python + ["--oracle", peer, "--dimension", str(d), "--form", form] + size
            return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        contenders = {"engine": engine.run, "one": one.run, "two": two.run,
                      "python_best": lambda: run_python("stream"), "python_usual": lambda: run_python("unary")}
        seconds = {name: [] for name in contenders}
        estimate_seconds = []
        busy_rounds = 0
        for name in ("engine", "one", "two"):  # warm up: pages, connection, threads
            contenders[name]()
        for number in range(args.rounds):
            progress(f"(n, d) = ({n}, {d}): round {number + 1} of {args.rounds}")
            for name, run in contenders.items():
                if name == "two":
                    busy_rounds += min(idle_shares()) < IDLE
                result = run()
                # With calibrated noise the covariance is the correlation matrix: its trace is d, to sampling error
                # (sd of the relative error below 0.02 here). A contender that computes something else is not timed.
                if "trace" in result and abs(result["trace"] / d - 1) > 0.2:
                    sys.exit(f"bench: {name} computed a covariance of trace {result['trace']}, expected about {d}")
                seconds[name].append(result["seconds"])
                if name == "one":
                    estimate_seconds.append(result["estimate_seconds"])
    os.unlink(data)
    rates = {name: count / statistics.median(values) for name, values in seconds.items()}
    spread = {name: (max(values) - min(values)) / statistics.median(values) for name, values in seconds.items()}
    return {"batch_size": n, "dimension": d, "row_count": rows, "count": count, "rates": rates, "spread": spread,
            "estimate_seconds": statistics.median(estimate_seconds), "rounds": args.rounds, "busy_rounds": busy_rounds}


def rate(value):
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"


def print_table(results):
    print("gradients per second, end to end including the covariance; medians of interleaved rounds")
    print(f"{'(n, d)':<13}{'N':>7}{'m':>7} |{'engine':>9}{'1 stream':>10}{'2 streams':>11} |{'Python best':>12}{'usual':>8} |"
          f"{'1/engine':>9}{'1/best':>8}{'2/best':>8}{'1/usual':>9} | idle at start")
    for r in results:
        rates = r["rates"]
        idle = "yes" if r["busy_rounds"] == 0 else f"no, in {r['busy_rounds']} of {r['rounds']} rounds"
        print(f"({r['batch_size']}, {r['dimension']})".ljust(13) + f"{r['row_count']:>7}{r['count']:>7} |"
              f"{rate(rates['engine']):>9}{rate(rates['one']):>10}{rate(rates['two']):>11} |"
              f"{rate(rates['python_best']):>12}{rate(rates['python_usual']):>8} |"
              f"{100 * rates['one'] / rates['engine']:>7.0f} %{rates['one'] / rates['python_best']:>7.1f}x"
              f"{rates['two'] / rates['python_best']:>7.1f}x{rates['one'] / rates['python_usual']:>8.1f}x | {idle}")
    print("largest spread (max - min)/median over the rounds: "
          + ", ".join(f"({r['batch_size']}, {r['dimension']}) {100 * max(r['spread'].values()):.0f} %" for r in results))
    print("besides, once for each estimate (spectrum and error bar, not above): "
          + ", ".join(f"d = {r['dimension']}: {r['estimate_seconds']:.3f} s" for r in results))

    by_case = {(r["batch_size"], r["dimension"]): r["rates"] for r in results}
    goals = []
    for case in ((256, 100), (1024, 1000)):
        if case in by_case:
            goals.append((f"{case}: one stream >= 85 % of the engine", by_case[case]["one"] / by_case[case]["engine"], 0.85))
    if (256, 100) in by_case:
        rates = by_case[256, 100]
        goals.append(("(256, 100): one stream >= 2.5x the best peer", rates["one"] / rates["python_best"], 2.5))
        goals.append(("(256, 100): two streams >= 4x the best peer", rates["two"] / rates["python_best"], 4))
        goals.append(("(256, 100): one stream >= 10x the usual peer", rates["one"] / rates["python_usual"], 10))
    if goals:
        print("\ngoals")
    for text, value, goal in goals:
        print(f"  {'reached' if value >= goal else 'MISSED '}  {text}: {value:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder of gradoracle-server and end_to_end_bench")
    parser.add_argument("--peer", required=True, help="folder of the Python peer with its generated stubs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", metavar="n,d", help="only this case; may be given several times")
    parser.add_argument("--json", metavar="FILE", help="write every figure here too")
    args = parser.parse_args()
    cases = [tuple(map(int, case.split(","))) for case in args.case] if args.case else list(CASES)
    for case in cases:
        if case not in CASES:
            parser.error(f"no such case: {case}; there are {list(CASES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="gradoracle-bench.") as folder:
        results = [measure(args, folder, n, d) for n, d in cases]
    print_table(results)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
