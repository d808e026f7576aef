"""Serves a data set twice (calibrated noise, no noise), estimates its Hessian over gRPC, prints claim beside truth.

Needs the two programs and Python's standard library only. scripts/demo calls it.
"""

import argparse
import json
import math
import os
import signal
import sys
import tempfile

from oracle_programs import run_json, serving, write_npy

BATCH_SIZE = 256
COUNTS = (256, 1024, 4096, 16384)
FAR_NORM = 30.0


def percent(value):
    if value is None:
        return "unknown"
    return f"{100 * value:.1f} %" if value < 10 else f"{100 * value:,.0f} %"


def measure(args, folder, progress):
    """One dict for each noise rule, weights and count."""
    server = os.path.join(args.bin, "gradoracle-server")
    client = os.path.join(args.bin, "gradoracle")
    rows = []
    for noise_rule in ("calibrated", "none"):
        progress(f"serving {os.path.basename(args.data)} with --noise-rule {noise_rule}")
        with serving(server, folder, "--data", args.data, "--noise-rule", noise_rule) as oracle:
            dimension = run_json([client, "info", "--oracle", oracle, "--json"])["dimension"]
            far = os.path.join(folder, "far.npy")
            write_npy(far, [FAR_NORM / math.sqrt(dimension)] * dimension)
            for norm, weights in ((0.0, "zeros"), (FAR_NORM, far)):
                for count in COUNTS:
                    progress(f"{noise_rule}, |w| = {norm:g}, m = {count}")
                    hessian = os.path.join(folder, "hessian.npy")
                    command = [client, "estimate", "--oracle", oracle, "--weights", weights, "--batch-size", str(BATCH_SIZE),
                               "--count", str(count), "--estimator", "covariance", "--no-unit-diagonal", "--out", hessian,
                               "--json"]
                    if noise_rule == "none":  # the oracle cannot say tau^2: evaluate as if it were n
                        command += ["--total-noise-variance", str(BATCH_SIZE)]
                    estimate = run_json(command)
                    truth = run_json([server, "inspect", "--data", args.data, "--compare", hessian])
                    rows.append({
                        "gradients": count,
                        "noise_rule": noise_rule,
                        "weights_norm": norm,
                        "claimed": estimate["relative_error"],
                        "bias_warning": estimate.get("bias_warning"),
                        "true_relative_error": truth["relative_error"],
                        "seconds": estimate["seconds"],
                    })
    return rows


def print_table(rows):
    print(f"Hessian of the house-price data from minibatch gradients of n = {BATCH_SIZE} rows; error = |H_hat - H| / |H|, spectral norm.")
    print("Paper's claim: calibrated noise at w = 0 -> the error falls like 1/sqrt(m). No noise, read as if tau^2 = n -> stuck near 100 %.")
    print("Far from the optimum the plain rule itself gives out: it cannot see this bias in its limit (sampling only), so it warns.\n")
    print(f"{'m':>6}  {'noise rule':<10}  {'|w|':>4}  {'claimed':>9}  {'95 % limit':>10}  {'true error':>10}  {'seconds':>7}  bias warning")
    for row in rows:
        claimed = row["claimed"]
        print(f"{row['gradients']:>6}  {row['noise_rule']:<10}  {row['weights_norm']:>4g}  {percent(claimed['estimate']):>9}  "
              f"{percent(claimed['upper']):>10}  {percent(row['true_relative_error']):>10}  {row['seconds']:>7.2f}  "
              f"{'yes' if row['bias_warning'] else '-'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder of gradoracle and gradoracle-server")
    parser.add_argument("--data", required=True, help="the data set to serve")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    args = parser.parse_args()
    # SIGTERM unwinds like Ctrl-C, so that the server is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="gradoracle-demo.") as folder:
        rows = measure(args, folder, lambda text: print(f"demo: {text}", file=sys.stderr))
    if args.json:
        print(json.dumps({"data": os.path.basename(args.data), "batch_size": BATCH_SIZE, "rows": rows}))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
