"""What protection costs: the same load on a bare server and on a protected one, side by side in one run.

Streams: one stream of m gradients, (n, d) = (256, 100), from a server with TLS, tokens and a ledger in SQLite, against one
in plaintext that asks nobody who they are and forgets. Callers: 64 at once with unary calls, from a server whose ledger is
in SQLite, against one that forgets; nothing else differs. In each round every contender runs once, in turn, and gives one
ratio; the table holds medians over the rounds. The load generator shares the machine's cores with the servers.
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
import time

from processes import idle_shares, progress, server, worker, write_data

BATCH_SIZE, DIMENSION, ROWS = 256, 100, 100_000
STREAM_COUNT, UNARY_COUNT, CALLERS = 16384, 6400, 64
GOALS = {"streams": 0.80, "callers": 0.50}
IDLE = 0.9


def make_certificate(folder):
    """The paths of a self-signed certificate for this machine and of its key."""
    certificate, key = os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
                    "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    return certificate, key


def sync_microseconds(folder, repetitions=200):
    """Median time of one fdatasync after a write of one page, as a ledger does for each commit."""
    seconds = []
    with open(os.path.join(folder, "sync"), "wb", buffering=0) as file:
        for _ in range(repetitions):
            file.write(bytes(4096))
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - begin)
    os.unlink(os.path.join(folder, "sync"))
    return 1e6 * statistics.median(seconds)


def interleaved(contenders, rounds, name):
    """Seconds of each contender in each round; contenders alternate in who goes first."""
    seconds = {contender: [] for contender in contenders}
    for run in contenders.values():  # warm up: pages, connections, threads
        run()
    for number in range(rounds):
        progress(f"{name}: round {number + 1} of {rounds}")
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for contender in order:
            seconds[contender].append(contenders[contender]()["seconds"])
    return seconds


def summary(seconds, count):
    """Rates (gradients a second) and the median over the rounds of protected over bare, which is the figure to trust."""
    ratios = [bare / protected for bare, protected in zip(seconds["bare"], seconds["protected"])]
    return {"bare": count / statistics.median(seconds["bare"]), "protected": count / statistics.median(seconds["protected"]),
            "ratio": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)}


def start(stack, args, folder, name, data, *flags):
    program = os.path.join(args.bin, "gradoracle-server")
    return stack.enter_context(server([program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "error",
                                       *flags], folder, name))


def measure_streams(args, folder, data):
    certificate, key = make_certificate(folder)
    ledger = f"sqlite:{os.path.join(folder, 'streams.db')}"
    token = os.path.join(folder, "token")
    subprocess.run([os.path.join(args.bin, "gradoracle-server"), "token", "create", "--ledger", ledger, "--principal", "bench",
                    "--limit", "unlimited", "--out", token], check=True, stdout=subprocess.DEVNULL)
    command = [os.path.join(args.bin, "end_to_end_bench"), "stream", "--streams", "1", "--batch-size", str(BATCH_SIZE),
               "--count", str(STREAM_COUNT)]
    with contextlib.ExitStack() as stack:
        bare = start(stack, args, folder, "bare", data)
        protected = start(stack, args, folder, "protected", data, "--auth", "tokens", "--tls-cert", certificate, "--tls-key",
                          key, "--ledger", ledger)
        contenders = {
            "bare": stack.enter_context(worker([*command, "--oracle", bare])).run,
            "protected": stack.enter_context(worker([*command, "--oracle", protected, "--tls-ca", certificate,
                                                     "--token-file", token])).run}
        return summary(interleaved(contenders, args.rounds, "streams"), STREAM_COUNT)


def measure_callers(args, folder, data):
    command = [os.path.join(args.bin, "callers_bench"), "unary", "--callers", str(CALLERS), "--batch-size", str(BATCH_SIZE),
               "--count", str(UNARY_COUNT)]
    with contextlib.ExitStack() as stack:
        contenders = {}
        for name, ledger in (("bare", "memory"), ("protected", f"sqlite:{os.path.join(folder, 'callers.db')}")):
            address = start(stack, args, folder, name, data, "--ledger", ledger)
            contenders[name] = stack.enter_context(worker([*command, "--oracle", address])).run
        return summary(interleaved(contenders, args.rounds, "callers"), UNARY_COUNT)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder of gradoracle-server, end_to_end_bench and callers_bench")
    parser.add_argument("--folder", help="where the ledgers are made, on a disk like the real one's (default: temporary)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", metavar="FILE", help="write every figure here too")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="gradoracle-bench.", dir=args.folder) as folder:
        data = os.path.join(folder, "data.npy")
        write_data(data, ROWS, DIMENSION)
        idle = min(idle_shares()) >= IDLE
        sync = sync_microseconds(folder)
        results = {"streams": measure_streams(args, folder, data), "callers": measure_callers(args, folder, data)}
    print(f"gradients per second at (n, d) = ({BATCH_SIZE}, {DIMENSION}); median, smallest, largest ratio of {args.rounds} rounds")
    print(f"one fdatasync takes {sync:.0f} us here; all cores idle at the start: {'yes' if idle else 'no'}")
    print(f"{'':<52}{'bare':>8}{'protected':>11}{'ratio':>8}   {'min':>5} {'max':>5}")
    texts = {"streams": "1 stream: TLS + tokens + SQLite / plaintext + memory",
             "callers": f"{CALLERS} unary callers: SQLite / memory"}
    for name, result in results.items():
        reached = "reached" if result["ratio"] >= GOALS[name] else "MISSED"
        print(f"{texts[name]:<52}{result['bare']:>8.0f}{result['protected']:>11.0f}{result['ratio']:>8.2f}   "
              f"{result['smallest']:>5.2f} {result['largest']:>5.2f}  >= {GOALS[name]:.2f} {reached}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"sync_microseconds": sync, **results}, file, indent=1)


if __name__ == "__main__":
    main()
