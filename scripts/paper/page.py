"""The page of docs/paper: text, tables and figures, every number from the results of one run."""

import os

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "gradoracle"  # the same figure is the same file
matplotlib.rcParams["font.size"] = 9
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"plain": "#1f5fa8", "beyond": "#c2570c", "line": "#777777", "limit": "#8fb4dc"}


def percent(value):
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if value < 10 else f"{value:,.0f} times"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + " ---: |" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def save(figure, folder, name, caption):
    figure.tight_layout()
    figure.savefig(os.path.join(folder, name + ".svg"), metadata={"Date": None})
    plt.close(figure)
    return f"\n![{caption}]({name}.svg)\n\n*{caption}*\n"


def axes(title, x, y, logarithmic="both"):
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if logarithmic in ("both", "x"):
        axis.set_xscale("log")
    if logarithmic in ("both", "y"):
        axis.set_yscale("log")
    axis.grid(True, which="major", alpha=0.3)
    return figure, axis


def error_against_count(result, folder):
    rows = result["rows"]
    counts = [row["gradients"] for row in rows]
    figure, axis = axes("House-price data, w = 0, calibrated noise", "gradients m", "relative error (spectral norm)")
    low, high = zip(*(row["plain_quartiles"] for row in rows))
    axis.fill_between(counts, low, high, color=COLOURS["plain"], alpha=0.2, linewidth=0)
    axis.plot(counts, [row["plain"] for row in rows], "o-", color=COLOURS["plain"], label="paper's estimator (median, quartiles)")
    limits = [(row["gradients"], row["limit"]) for row in rows if row["limit"] is not None]
    axis.plot(*zip(*limits), "--", color=COLOURS["limit"], label="its own 95 % limit")
    auto = [(row["gradients"], row["auto"]) for row in rows if row["auto"] is not None]
    axis.plot(*zip(*auto), "s-", color=COLOURS["beyond"], label="beyond the paper: estimator auto")
    axis.plot(counts, [row["line"] for row in rows], ":", color=COLOURS["line"], label=r"$\sqrt{r/m}$")
    axis.legend()
    text = save(figure, folder, "error-against-count",
                "Error against gradients; r = trace / largest eigenvalue. What this does not show: points far from the optimum.")
    text += "\n" + table(
        ["m", "√(r/m)", "2√(r/m) + r/m", "paper's estimator", "its 95 % limit", "beyond: auto"],
        [[row["gradients"], percent(row["line"]), percent(row["predicted"]), percent(row["plain"]), percent(row["limit"]),
          percent(row["auto"])] for row in rows])
    slope = rows[-1]["plain"] / rows[-5]["plain"]
    worse = [str(row["gradients"]) for row in rows if row["auto"] is not None and row["auto"] > 1.2 * row["plain"]]
    if worse:
        text += f"\nAt m = {', '.join(worse)} `auto` was worse by more than a fifth: its pilot cost more than it gained.\n"
    return (f"## Error falls like √(r/m)\n\nBundled house-price data (d = {result['dimension']}, r = "
            f"{result['effective_rank']:.2f}), n = {result['batch_size']}, {result['repetitions']} repetitions. Sixteen times the "
            f"gradients divide the error by {1 / slope:.1f} (4 expected).\n{text}")


def noise_rules(result, folder):
    rows = result["rows"]
    text = table(
        ["noise variance", "w", "m", "read as τ² = n", "best scale", "beyond: auto"],
        [[row["rule"], row["place"], row["gradients"], percent(row["as_n"]), percent(row["best_scale"]), percent(row["auto"])]
         for row in rows])
    largest = max(row["gradients"] for row in rows)
    figure, axis = axes(f"m = {largest}: error of n/τ² Cov(g) read as τ² = n", "total noise variance", "relative error", "y")
    names = list(dict.fromkeys(row["rule"] for row in rows))
    for place, marker in (("near", "o"), ("far", "s")):
        for key, colour, label in (("as_n", COLOURS["plain"], "read as τ² = n"), ("best_scale", COLOURS["beyond"], "best scale")):
            values = [next(row[key] for row in rows if row["rule"] == name and row["place"] == place and row["gradients"] == largest)
                      for name in names]
            axis.plot(names, values, marker + ("-" if place == "near" else "--"), color=colour, label=f"{label}, {place}")
    axis.legend()
    return (f"## Calibration: with it the Hessian, without it a constant factor\n\nGaussian features (d = {result['dimension']}), "
            f"n = {result['batch_size']}, {result['repetitions']} repetitions; near: w = w*, far: (w − w*)ᵀH(w − w*) = 4n. At w* "
            "without the right noise the error does not fall with m (Ω(1)); any variance of order n recovers H up to its scale. "
            "Far away the plain rule is biased whatever m, and larger noise drowns the bias.\n\n" + text +
            save(figure, folder, "noise-rules", "Calibrated against uncalibrated noise, near and far."))


def batch_sizes(result, folder):
    rows = result["rows"]
    figure, axis = axes(f"House-price data, m = {result['gradients']}", "batch size n", "relative error", "x")
    axis.errorbar([row["batch_size"] for row in rows], [row["plain"] for row in rows],
                  yerr=list(zip(*[(row["plain"] - row["plain_quartiles"][0], row["plain_quartiles"][1] - row["plain"])
                                  for row in rows])), fmt="o-", color=COLOURS["plain"], capsize=3)
    axis.set_ylim(bottom=0)
    return (f"## Batch size\n\nCalibrated noise, {result['repetitions']} repetitions. The rule τ² = n makes the error independent "
            "of n, up to the excess kurtosis of small batches.\n\n" +
            table(["n", "paper's estimator", "quartiles"],
                  [[row["batch_size"], percent(row["plain"]), " – ".join(map(percent, row["plain_quartiles"]))] for row in rows]) +
            save(figure, folder, "batch-sizes", "Error against batch size (median and quartiles)."))


def dimensions(result, folder):
    rows = result["rows"]
    figure, axis = axes(f"m = {result['gradients']}", "dimension d", "relative error")
    for name, marker in (("independent features", "o"), ("one common factor", "s")):
        mine = [row for row in rows if row["features"] == name]
        axis.plot([row["dimension"] for row in mine], [row["plain"] for row in mine], marker + "-", label=name)
        axis.plot([row["dimension"] for row in mine], [row["predicted"] for row in mine], ":", color=COLOURS["line"])
    axis.legend()
    return ("## Dimension: the effective rank counts, not d\n\n" +
            table(["features", "d", "r", "√(r/m)", "2√(r/m) + r/m", "paper's estimator"],
                  [[row["features"], row["dimension"], f"{row['effective_rank']:.1f}", percent(row["line"]),
                    percent(row["predicted"]), percent(row["plain"])] for row in rows]) +
            save(figure, folder, "dimensions", "Error against dimension; dotted: 2√(r/m) + r/m."))


def tails(result, _):
    return (f"## Tails: the premise that carries the weight\n\nn = {result['batch_size']}, m = {result['gradients']}, "
            f"{result['repetitions']} repetitions; near: w = w*, far: (w − w*)ᵀH(w − w*) = n/10, where the sub-Gaussian theory "
            "promises a bias of at most 20 %. Heavy tails break it; the known diagonal, warm-up and the probe mend it.\n\n" +
            table(["features", "largest kurtosis", "near", "far", "beyond: far, auto", "beyond: far, probe"],
                  [[row["features"], f"{row['largest_kurtosis']:,.1f}", percent(row["near"]), percent(row["far"]),
                    percent(row["far_auto"]), percent(row["far_probe"])] for row in result["rows"]]))


def preconditioning(result, folder):
    rows = result["rows"]
    figure, axis = axes(f"d = {result['dimension']}, condition number without: {result['without']:,.0f}", "gradients m",
                        "condition number of Ĥ⁻¹H")
    axis.plot([row["gradients"] for row in rows], [row["condition"] for row in rows], "o-", color=COLOURS["plain"], label="measured")
    axis.plot([row["gradients"] for row in rows], [row["predicted"] for row in rows], ":", color=COLOURS["line"],
              label="((1 + √(d/m)) / (1 − √(d/m)))²")
    axis.legend()
    return (f"## Preconditioning\n\nPairs of nearly equal columns, condition number {result['without']:,.0f}; "
            f"{result['repetitions']} repetitions. What is left depends on m/d alone, not on the spectrum.\n\n" +
            table(["m", "m/d", "condition number of Ĥ⁻¹H", "predicted"],
                  [[row["gradients"], row["per_dimension"], f"{row['condition']:.2f}", f"{row['predicted']:.2f}"] for row in rows]) +
            save(figure, folder, "preconditioning", "Condition number after preconditioning with Ĥ."))


def training(result, _):
    least = {}
    for row in result["rows"]:
        key = row["policy"], row["allowed"]
        least[key] = min(least.get(key, float("inf")), row["excess_risk"])
    return (f"## Gradient-only training\n\nd = {result['dimension']}, condition number {result['condition']:,.0f}, N = "
            f"{result['row_count']:,}, n = {result['batch_size']}, start at w = 0 with excess risk {result['start']:.3g}; medians of "
            f"{result['repetitions']}. The least of each group is bold, also where that is plain SGD.\n\n" +
            table(["oracle allows", "method", "gradients allowed", "spent", "excess risk"],
                  [[row["policy"], row["method"], row["allowed"], f"{row['spent']:.0f}",
                    f"**{row['excess_risk']:.2e}**" if row["excess_risk"] == least[row["policy"], row["allowed"]]
                    else f"{row['excess_risk']:.2e}"]
                   for row in result["rows"]]))


def adversarial_risk(result, _):
    return (f"## Adversarial risk from gradients\n\nHouse-price data, w = 0.8 w*, m = {result['gradients']}, one extra noise level; "
            f"medians of {result['repetitions']}.\n\n" +
            table(["attack", "radius", "exact (owner)", "estimate", "off by", "exact value inside its 95 % interval"],
                  [[row["norm"], row["radius"], f"{row['exact']:.4f}", f"{row['estimate']:.4f}",
                    f"{100 * (row['estimate'] / row['exact'] - 1):+.1f} %", f"{row['inside']} of {result['repetitions']}"]
                   for row in result["rows"]]))


def distributed(result, _):
    return ("## Several owners\n\n"
            f"{sum(result['row_counts']):,} rows split over three oracles ({', '.join(map(str, result['row_counts']))} rows) in "
            f"agreed units, d = {result['dimension']}; `train` with `{result['method']}` and {result['gradients']} gradients in all. "
            f"Excess risk on the union: {result['together']:.2e} trained together, {result['smallest_alone']:.2e} from the smallest "
            f"oracle alone, {result['start']:.2e} at the start (medians of {result['repetitions']}).\n")


SECTIONS = [error_against_count, noise_rules, batch_sizes, dimensions, tails, preconditioning, training, adversarial_risk,
            distributed]


def write(folder, about, results):
    text = ("# The paper, reproduced\n\n"
            "Claims of \"arXiv 2601.18546\" and what our estimators add on the same queries, measured by `scripts/reproduce` over real "
            "servers on loopback. Every number on this page comes from that run ([results.json](results.json)): "
            f"{about['version'].splitlines()[0]}, {about['date']}, {about['seconds'] / 60:.0f} minutes"
            f"{' (quick: few repetitions)' if about['quick'] else ''}. The oracle's noise cannot be seeded, so a new run differs a "
            "little.\n\nServers run with their defaults (weights up to norm 100, or up to the far point where that is farther): \"auto\" may "
            "then query at designed weights, which the paper's estimator does not. Errors are ‖Ĥ − H‖ / ‖H‖ in spectral norm, against the H of the data's owner; \"beyond\" columns are not the "
            "paper's.\n\n")
    text += "\n".join(section(results[section.__name__], folder) for section in SECTIONS)
    with open(os.path.join(folder, "README.md"), "w") as file:
        file.write(text)
