"""The experiments. Each takes (programs, house-price data, repetitions or None for its own number) and returns plain
numbers and lists. Gradients come from real servers, whose noise nobody can seed: numbers differ a little every run.
The data sets are made with a fixed seed."""

import math
import os

import numpy as np

from scripts.paper.oracles import make_data, owner

BATCH_SIZE = 256
SEED = 2026


def median(values):
    return float(np.median(values))


def spread(values):
    """Lower and upper quartile."""
    return [float(q) for q in np.quantile(values, [0.25, 0.75])]


def predicted_error(effective_rank, count):
    """Koltchinskii-Lounici, first terms: 2 sqrt(r/m) + r/m."""
    return 2 * math.sqrt(effective_rank / count) + effective_rank / count


def error_against_count(programs, house, repetitions):
    repetitions = repetitions or 9
    rows = []
    with programs.oracle(house) as oracle:
        zero = np.zeros(house.dimension)
        for count in [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]:
            plain, limits, auto = [], [], []
            for _ in range(repetitions):
                hessian, report = oracle.plain(zero, BATCH_SIZE, count)
                plain.append(house.relative_error(hessian))
                if report["relative_error"]["upper"] is not None:
                    limits.append(report["relative_error"]["upper"])
                if count >= 256:
                    hessian, _ = oracle.estimate(zero, BATCH_SIZE, count)
                    auto.append(house.relative_error(hessian))
            rows.append({"gradients": count, "plain": median(plain), "plain_quartiles": spread(plain),
                         "limit": median(limits) if len(limits) == repetitions else None,
                         "auto": median(auto) if auto else None,
                         "line": math.sqrt(house.effective_rank / count),
                         "predicted": predicted_error(house.effective_rank, count)})
    return {"repetitions": repetitions, "batch_size": BATCH_SIZE, "effective_rank": house.effective_rank,
            "dimension": house.dimension, "rows": rows}


def noise_rules(programs, _, repetitions):
    """Read as if tau^2 = n (the paper's formula), and up to the best scale."""
    repetitions = repetitions or 5
    generator = np.random.default_rng(SEED)
    scales = 1 / np.sqrt(np.arange(1, 31))
    mixing, _ = np.linalg.qr(generator.standard_normal((30, 30)))
    data = make_data(programs.folder, "rules", generator.standard_normal((20000, 30)) * scales @ mixing, generator)
    places = {"near": data.optimum, "far": data.away(4 * BATCH_SIZE, generator)}
    rules = {"none": ["--noise-rule", "none"], "0.1 n": ["--noise-rule", "scaled", "--noise-scale", "0.1"],
             "n (calibrated)": ["--noise-rule", "calibrated"],
             "10 n": ["--noise-rule", "scaled", "--noise-scale", "10"]}
    shares = {"none": None, "0.1 n": 0.1, "n (calibrated)": 1.0, "10 n": 10.0}
    rows = []
    for rule, flags in rules.items():
        with programs.oracle(data, *flags, farthest=places["far"]) as oracle:
            for place, weights in places.items():
                for count in (1024, 16384):
                    as_n, scaled, auto = [], [], []
                    for _ in range(repetitions):
                        extra = ["--total-noise-variance", BATCH_SIZE] if shares[rule] is None else []
                        hessian, _ = oracle.plain(weights, BATCH_SIZE, count, *extra)
                        hessian = hessian * (shares[rule] or 1.0)  # tau^2 taken for n, whatever it was
                        as_n.append(data.relative_error(hessian))
                        best = np.sum(hessian * data.hessian) / np.sum(hessian * hessian)
                        scaled.append(data.relative_error(best * hessian))
                        if shares[rule] is not None:
                            hessian, _ = oracle.estimate(weights, BATCH_SIZE, count)
                            auto.append(data.relative_error(hessian))
                    rows.append({"rule": rule, "place": place, "gradients": count, "as_n": median(as_n),
                                 "best_scale": median(scaled), "auto": median(auto) if auto else None})
    return {"repetitions": repetitions, "batch_size": BATCH_SIZE, "dimension": data.dimension, "rows": rows}


def batch_sizes(programs, house, repetitions):
    repetitions = repetitions or 7
    rows = []
    with programs.oracle(house) as oracle:
        for batch_size in (32, 64, 128, 256, 512, 1024):
            errors = [house.relative_error(oracle.plain(np.zeros(house.dimension), batch_size, 4096)[0])
                      for _ in range(repetitions)]
            rows.append({"batch_size": batch_size, "plain": median(errors), "plain_quartiles": spread(errors)})
    return {"repetitions": repetitions, "gradients": 4096, "rows": rows}


def dimensions(programs, _, repetitions):
    repetitions = repetitions or 3
    generator = np.random.default_rng(SEED + 1)
    rows = []
    for dimension in (10, 30, 100, 200):
        white = generator.standard_normal((20000, dimension))
        factor = np.sqrt(0.5)
        correlated = factor * white + factor * generator.standard_normal((20000, 1))  # one strong direction
        for name, features in (("independent features", white), ("one common factor", correlated)):
            data = make_data(programs.folder, f"dimension{dimension}", features, generator)
            with programs.oracle(data) as oracle:
                errors = [data.relative_error(oracle.plain(np.zeros(dimension), BATCH_SIZE, 4096)[0])
                          for _ in range(repetitions)]
            rows.append({"dimension": dimension, "features": name, "effective_rank": data.effective_rank,
                         "plain": median(errors), "line": math.sqrt(data.effective_rank / 4096),
                         "predicted": predicted_error(data.effective_rank, 4096)})
    return {"repetitions": repetitions, "gradients": 4096, "batch_size": BATCH_SIZE, "rows": rows}


def tails(programs, house, repetitions):
    """Features with ever heavier tails, at the optimum and at (w - w*)'H(w - w*) = n / 10."""
    repetitions = repetitions or 3
    generator = np.random.default_rng(SEED + 2)
    size = (20000, 20)
    laws = {
        "signs (+-1)": generator.choice([-1.0, 1.0], size),
        "uniform": generator.uniform(-1, 1, size),
        "Gaussian": generator.standard_normal(size),
        "Student t, 5 degrees": generator.standard_t(5, size),
        "log-normal": np.exp(generator.standard_normal(size)),
        "rare category (1 in 500)": (generator.random(size) < 0.002).astype(float),
    }
    rows = []
    datasets = {name: make_data(programs.folder, f"tails{index}", features, generator)
                for index, (name, features) in enumerate(laws.items())}
    datasets["house prices (bundled)"] = house
    for name, data in datasets.items():
        kurtosis = float(np.max(np.mean(data.features**4, axis=0)))
        far = data.away(BATCH_SIZE / 10, generator)
        row = {"features": name, "largest_kurtosis": kurtosis}
        with programs.oracle(data, farthest=far) as oracle:
            row["near"] = median([data.relative_error(oracle.plain(data.optimum, BATCH_SIZE, 4096)[0])
                                  for _ in range(repetitions)])
            row["far"] = median([data.relative_error(oracle.plain(far, BATCH_SIZE, 4096)[0])
                                 for _ in range(repetitions)])
            row["far_auto"] = median([data.relative_error(oracle.estimate(far, BATCH_SIZE, 4096)[0])
                                      for _ in range(repetitions)])
        with programs.oracle(data, "--curvature-probe", farthest=far) as oracle:
            row["far_probe"] = median([
                data.relative_error(oracle.estimate(far, BATCH_SIZE, 4096, "--estimator", "probe")[0])
                for _ in range(repetitions)])
        rows.append(row)
    return {"repetitions": repetitions, "gradients": 4096, "batch_size": BATCH_SIZE, "rows": rows}


def preconditioning(programs, _, repetitions):
    """Condition number of P^-1 H for P from m gradients, against the spectrum-free prediction."""
    repetitions = repetitions or 5
    generator = np.random.default_rng(SEED + 3)
    dimension = 40
    blocks = generator.standard_normal((20000, dimension // 2))
    partners = blocks + 0.01 * generator.standard_normal(blocks.shape)  # pairs of nearly equal columns
    data = make_data(programs.folder, "precondition", np.column_stack([blocks, partners]), generator)
    root = np.linalg.cholesky(data.hessian)
    rows = []
    with programs.oracle(data) as oracle:
        for ratio in (1.5, 2, 4, 10, 40, 160):
            count = int(ratio * dimension)
            numbers = []
            for _ in range(repetitions):
                hessian, _ = oracle.plain(np.zeros(dimension), BATCH_SIZE, count)
                whitened = np.linalg.solve(hessian, root)
                eigenvalues = np.linalg.eigvalsh(root.T @ whitened)
                numbers.append(eigenvalues[-1] / eigenvalues[0])
            root_share = math.sqrt(dimension / count)
            rows.append({"gradients": count, "per_dimension": ratio, "condition": median(numbers),
                         "predicted": ((1 + root_share) / (1 - root_share))**2})
    eigenvalues = np.linalg.eigvalsh(data.hessian)
    return {"repetitions": repetitions, "dimension": dimension, "without": float(eigenvalues[-1] / eigenvalues[0]),
            "rows": rows}


def training(programs, _, repetitions):
    """From w = 0 on badly conditioned data: excess risk reached with the same number of gradients."""
    repetitions = repetitions or 3
    generator = np.random.default_rng(SEED + 4)
    dimension, batch_size = 40, 512
    spectrum = np.geomspace(1, 1e-3, dimension)
    mixing, _ = np.linalg.qr(generator.standard_normal((dimension, dimension)))
    data = make_data(programs.folder, "train", generator.standard_normal((20000, dimension)) * np.sqrt(spectrum) @ mixing,
                     generator)
    eigenvalues = np.linalg.eigvalsh(data.hessian)
    out = os.path.join(programs.folder, "trained.npy")
    rows = []
    policies = {"calibrated noise alone": [], "a low noise level and the probe allowed": [
        "--extra-noise-variances", "1", "--curvature-probe"]}
    for policy, flags in policies.items():
        with programs.oracle(data, *flags) as oracle:
            for method in ("sgd", "preconditioned", "newton", "mixed", "auto"):
                for count in (1024, 4096):
                    risks, spent = [], []
                    for _ in range(repetitions):
                        report = oracle.verb("train", "--method", method, "--batch-size", batch_size, "--count", count,
                                             "--out", out)
                        risks.append(data.excess_risk(np.load(out)))
                        spent.append(report["gradients"])
                    rows.append({"policy": policy, "method": method, "allowed": count, "spent": median(spent),
                                 "excess_risk": median(risks)})
    return {"repetitions": repetitions, "dimension": dimension, "batch_size": batch_size, "row_count": data.row_count,
            "condition": float(eigenvalues[-1] / eigenvalues[0]), "start": data.excess_risk(np.zeros(dimension)),
            "rows": rows}


def adversarial_risk(programs, house, repetitions):
    repetitions = repetitions or 5
    weights = 0.8 * house.optimum
    path = programs.weights_file(weights, "risk.npy")
    rows = []
    with programs.oracle(house, "--extra-noise-variances", "1") as oracle:
        for norm, dual in (("l2", 2), ("linf", 1)):
            for radius in (0.01, 0.1):
                budget = radius * np.linalg.norm(weights, dual)
                exact = float(np.mean((np.abs(house.residuals(weights)) + budget)**2))
                values, inside = [], 0
                for _ in range(repetitions):
                    report = oracle.verb("risk", "--weights", path, "--radius", radius, "--norm", norm, "--batch-size",
                                         BATCH_SIZE, "--count", 8192)
                    values.append(report["adversarial_risk"])
                    low, high = report["adversarial_risk_interval"]
                    inside += low <= exact <= high
                rows.append({"norm": norm, "radius": radius, "exact": exact, "estimate": median(values),
                             "inside": inside})
    return {"repetitions": repetitions, "batch_size": BATCH_SIZE, "gradients": 8192, "rows": rows}


def distributed(programs, house, repetitions):
    """The rows of one data set split over three oracles in agreed units, trained together."""
    repetitions = repetitions or 3
    generator = np.random.default_rng(SEED + 5)
    features = generator.standard_normal((12000, 12)) @ generator.standard_normal((12, 12))
    data = make_data(programs.folder, "pooled", features, generator)
    scaling = os.path.join(programs.folder, "scaling.json")
    owner(programs, "inspect", "--data", data.path, "--scaling-out", scaling)
    rows = np.load(data.path)
    cuts = {"0": rows[:6000], "1": rows[6000:10000], "2": rows[10000:]}  # unequal on purpose
    out = os.path.join(programs.folder, "together.npy")
    flags = ["--scaling", scaling, "--extra-noise-variances", "1"]
    parts = []
    for name, part in cuts.items():
        path = os.path.join(programs.folder, f"part{name}.npy")
        np.save(path, part)
        parts.append(type("Part", (), {"path": path}))
    risks, own = [], []
    with programs.oracle(parts[0], *flags) as a, programs.oracle(parts[1], *flags) as b, \
            programs.oracle(parts[2], *flags) as c:
        for _ in range(repetitions):
            report = programs.run("train", "--oracle", a.address, "--oracle", b.address, "--oracle", c.address, "--method",
                                  "auto", "--batch-size", BATCH_SIZE, "--count", 3000, "--out", out)
            risks.append(data.excess_risk(np.load(out)))
            programs.run("train", "--oracle", c.address, "--method", "auto", "--batch-size", BATCH_SIZE, "--count", 3000,
                         "--out", out)
            own.append(data.excess_risk(np.load(out)))
    del house
    return {"repetitions": repetitions, "row_counts": [len(part) for part in cuts.values()], "dimension": 12,
            "together": median(risks), "smallest_alone": median(own), "method": report["method"],
            "gradients": report["gradients"], "start": data.excess_risk(np.zeros(12))}


ALL = {
    "error_against_count": error_against_count,
    "noise_rules": noise_rules,
    "batch_sizes": batch_sizes,
    "dimensions": dimensions,
    "tails": tails,
    "preconditioning": preconditioning,
    "training": training,
    "adversarial_risk": adversarial_risk,
    "distributed": distributed,
}
