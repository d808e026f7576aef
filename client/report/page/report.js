"use strict";
// The page: one function a section, from the JSON of docs/schema/audit-report-1.json.

const report = JSON.parse(document.getElementById("report").textContent);
const texts = JSON.parse(document.getElementById("figures").textContent);
const attackTitles = new Map((report.attacks || []).map((attack) => [attack.name, attack.title || titled(attack.name)]));
const attackTitle = (name) => attackTitles.get(name) || (name ? titled(name) : "unknown");
const MOST_SERIES = 7;    // curves told apart in one chart
const MOST_LINES = 4;     // of a label in the heat map
const LINE_HEIGHT = 15;   // pixels
const drawings = [];  // what is to be drawn once the page has its layout

// 1 (nearly all known) to 5 (hidden).
function knownClass(error) {
  return 1 + texts.known.findIndex((level) => level.below === null || error < level.below);
}
function knownLevels() {
  return texts.known.map((level, i) => ({known: i + 1, text: level.words + (level.below === null ? " (100% and more)" : " (below " + percent(level.below) + ")")}));
}

// Points of a curve that a logarithmic scale can hold, with the ends of their intervals.
function points(curve, valueField) {
  return (curve || []).filter((point) => isNumber(point[valueField]) && point[valueField] > 0).map((point) => {
    const [low, high] = point.interval || [null, null];
    const value = point[valueField];
    return {...point, lower: isNumber(low) && low > 0 ? low : value, upper: isNumber(high) && high > 0 ? high : value};
  });
}

function errorLines(title, point) {
  return [["", title], ["after", integer(point.gradients) + " gradients"], ["relative error", percent(point.relative_error)],
    ...(percentInterval(point.interval) ? [["interval", percentInterval(point.interval)]] : []),
    ...(isNumber(point.repetitions) ? [["repetitions", integer(point.repetitions)]] : [])];
}
// Vega-Lite wants a field for a tooltip; what is shown are the lines.
function withLines(point, lines) {
  return {...point, lines, tooltip: lines.map((line) => line.join(" ")).join("; ")};
}

function heading(level, text, id) {
  return element(level, {id}, text);
}

// A figure: key, chart, caption, what it does not show, the numbers.
function figure(name, datasets, {label, key, numbers, dashes, fit, fixedHeight, remark, series}) {
  const words = texts.figures[name];
  const chart = element("div", {class: "chart", role: "img", "aria-label": label, "data-figure": name});
  drawings.push({chart, spec: (words.like ? texts.figures[words.like] : words).spec, datasets, options: {label, dashes, fit, fixedHeight, series}});
  return element("figure", {}, key ? chartKey(key) : null, chart, element("figcaption", {},
    element("p", {}, words.caption, remark ? " " + remark : ""),
    element("p", {class: "limits"}, element("b", {}, "What this does not show. "), words.not_shown)),
  numbers ? element("details", {}, element("summary", {}, "The numbers of this figure"), numbers) : null);
}

function absent(text) {
  return element("p", {class: "absent"}, opened(text));
}

function section(id, title, ...content) {
  return element("section", {id, "aria-labelledby": id + "-title"}, heading("h2", title, id + "-title"), content);
}

// Why a comparison that needs the owner's side is missing.
function whyAbsent(what, needsTruth) {
  if (report.mode === "simulation") return what + " was not part of this audit";
  const where = report.mode === "oracle" ? "An audit over the network" : "An audit of recorded gradients";
  return needsTruth
    ? what + " needs the true curvature, and the owner's data was not given to this audit"
    : where + " cannot switch settings of the oracle: " + what.toLowerCase() + " needs an audit of the data in process";
}

function curveNumbers(series) {
  return table([{title: "Series"}, {title: "Gradients", number: true}, {title: "Relative error", number: true}, {title: "Interval", number: true}],
    series.flatMap(({title, curve}) => curve.map((point) => [title, integer(point.gradients), percent(point.relative_error), percentInterval(point.interval)])));
}

function leakage() {
  const words = texts.figures.leakage;
  const strongest = report.strongest || [];
  const measured = points(strongest, "relative_error").map((point) => withLines(point, errorLines("Measured: " + attackTitle(point.attack), point)));
  const accountant = report.accountant;
  const predicted = points(accountant && accountant.curve, "relative_error").map((point) => withLines(point, errorLines("Predicted", point)));
  if (measured.length + predicted.length === 0) {
    return section("leakage", words.title, absent(strongest.length === 0
      ? "No attack was run within the budget, so there is no curve"
      : "No error can be stated: the truth is not known to this audit. Give the owner's data to compare what the attacks recovered with it"));
  }
  const all = [...measured, ...predicted].map((point) => point.gradients);
  const budget = report.recommended_budget;
  const inside = isNumber(budget) && budget >= Math.min(...all) && budget <= Math.max(...all);
  const recommended = inside ? [{gradients: budget, text: "recommended budget: " + integer(budget)}] : [];
  // The words stand on the side of the line that has room.
  const middle = Math.sqrt(Math.min(...all) * Math.max(...all));
  const fit = (spec) => spec.layer.filter((layer) => layer.mark.type === "text").forEach((layer) => Object.assign(layer.mark, budget < middle ? {align: "left", dx: 7} : {align: "right", dx: -7}));
  const first = measured[0];
  const last = measured[measured.length - 1];
  const label = measured.length === 0 ? "Line chart: predicted relative error against gradients"
    : "Line chart: the relative error of the strongest attack goes from " + percent(first.relative_error) + " after " + integer(first.gradients) + " gradients to " +
      percent(last.relative_error) + " after " + integer(last.gradients) + ".";
  const key = [...(measured.length ? [{text: "measured: the strongest attack", series: 0}] : []),
    ...(predicted.length ? [{text: "predicted" + (accountant.title || accountant.attack ? ": " + (accountant.title || attackTitle(accountant.attack)) : ""), colour: "var(--series-2)", dashed: true}] : [])];
  return section("leakage", words.title, figure("leakage", {measured, predicted, recommended}, {
    label, key, fit,
    remark: [[...measured, ...predicted].some((point) => point.lower < point.upper) ? "The bands are the intervals over repeated attacks, and of the prediction." : "",
      predicted.length > 0 && accountant.agreement ? accountant.agreement : "",
      predicted.length === 0 ? "This audit holds no prediction, so none is drawn." : ""].filter((text) => text !== "").join(" "),
    numbers: table([{title: "Gradients", number: true}, {title: "Strongest attack"}, {title: "Relative error", number: true}, {title: "Interval", number: true}, {title: "Predicted", number: true}],
      strongest.map((point) => {
        const prediction = predicted.find((other) => other.gradients === point.gradients);
        return [integer(point.gradients), attackTitle(point.attack), percent(point.relative_error), percentInterval(point.interval), prediction ? percent(prediction.relative_error) : ""];
      })),
  }));
}

function facts() {
  const strongest = (report.strongest || []).filter((point) => isNumber(point.relative_error));
  const last = strongest[strongest.length - 1];
  const findings = Object.values(report.findings || {});
  const found = findings.filter((finding) => finding.found === true).length;
  const open = findings.filter((finding) => finding.found === null).length;
  const advice = report.recommendation || {};
  const fact = (term, value, remark) => element("div", {}, element("dt", {}, term), element("dd", {}, element("span", {class: "figure"}, value), remark ? element("span", {class: "remark"}, remark) : null));
  return element("dl", {class: "facts"},
    fact("Recommended budget", isNumber(report.recommended_budget) ? integer(report.recommended_budget) : "none",
      isNumber(report.recommended_budget) ? sentence(advice.sentence || "gradients in all, to everybody together")
        : sentence(advice.sentence || "No budget can be recommended from this audit")),
    last ? fact("Error of the strongest attack", percent(last.relative_error),
      attackTitle(last.attack) + ", after " + integer(last.gradients) + " gradients" + (percentInterval(last.interval) ? "; " + percentInterval(last.interval) : ""))
      : fact("Error of the strongest attack", "unknown", "The truth was not given to this audit."),
    fact("Leaks found", integer(found), findings.length === 0 ? "None was looked for." : "of " + integer(findings.length) + " looked for" + (open > 0 ? "; " + integer(open) + " not tested." : ".")));
}

function attackGrid(attacks) {
  const budgets = [...new Set(attacks.flatMap((attack) => attack.curve.map((point) => point.gradients)))].sort((a, b) => a - b);
  const shown = budgets.length <= 9 ? budgets : budgets.filter((_, i) => i % Math.ceil(budgets.length / 9) === 0 || i === budgets.length - 1);
  const error = (attack, gradients) => {
    const point = attack.curve.find((candidate) => candidate.gradients === gradients);
    return point && isNumber(point.relative_error) ? point.relative_error : null;
  };
  const least = shown.map((gradients) => Math.min(...attacks.map((attack) => error(attack, gradients)).filter(isNumber)));
  return table([{title: "Attack"}, ...shown.map((gradients) => ({title: integer(gradients), number: true}))],
    attacks.map((attack) => [attackTitle(attack.name), ...shown.map((gradients, i) => {
      const value = error(attack, gradients);
      if (value === null) return element("td", {}, "–");
      return element("td", {class: "known-" + knownClass(value) + (value === least[i] ? " best" : "")}, percent(value));
    })]), {class: "grid"});
}

// The few attacks a chart can tell apart: the strongest at some budget, then those that end lowest.
function leadingAttacks(all) {
  const last = (one) => one.curve[one.curve.length - 1];
  const least = new Map();
  for (const one of all) {
    for (const point of one.curve) {
      const best = least.get(point.gradients);
      if (!best || point.relative_error < best.error) least.set(point.gradients, {error: point.relative_error, title: one.title});
    }
  }
  const winners = new Set([...least.values()].map((best) => best.title));
  const rank = (one) => [winners.has(one.title) ? 0 : 1, -last(one).gradients, last(one).relative_error];
  const ranked = all.map((one) => ({one, rank: rank(one)})).sort((x, y) => x.rank.map((value, i) => value - y.rank[i]).find((difference) => difference !== 0) || 0);
  return new Set(ranked.slice(0, MOST_SERIES).map(({one}) => one.title));
}

// "Not run", once for each reason.
function notRun() {
  const reasons = new Map();
  for (const attack of report.attacks.filter((candidate) => !candidate.available)) {
    const reason = attack.reason || "the policy does not allow it";
    reasons.set(reason, [...(reasons.get(reason) || []), attackTitle(attack.name)]);
  }
  return reasons.size === 0 ? null : [heading("h3", "Not run", "not-run"),
    element("ul", {class: "sentences"}, [...reasons].map(([reason, titles]) => element("li", {}, sentence(titles.join("; ") + ": " + reason))))];
}

function attacks() {
  const words = texts.figures.attacks;
  const run = report.attacks.filter((attack) => attack.available && attack.curve.length > 0);
  const end = (attack) => Math.min(...attack.curve.slice(-1).map((point) => (isNumber(point.relative_error) ? point.relative_error : Infinity)));
  run.sort((a, b) => (end(a) < end(b) ? -1 : end(a) > end(b) ? 1 : 0));  // the strongest first
  const all = run.map((attack) => ({title: attackTitle(attack.name), curve: points(attack.curve, "relative_error")})).filter(({curve}) => curve.length > 0);
  const leading = leadingAttacks(all);
  const others = "other attacks";
  const names = all.map(({title}) => title).filter((title) => leading.has(title));
  const rows = all.flatMap(({title, curve}) => curve.map((point) => withLines({...point, attack: title, series: leading.has(title) ? title : others}, errorLines(title, point))));
  rows.sort((a, b) => (b.series === others) - (a.series === others));  // behind the rest
  const series = [...names.map((name, index) => ({name, index})), ...(names.length < all.length ? [{name: others, index: OTHERS}] : [])];
  const content = rows.length === 0
    ? absent(run.length === 0 ? "No attack was run" : "The attacks ran, but without the true curvature their errors are unknown")
    : [figure("attacks", {rows}, {label: "Line chart of the relative error of " + all.length + " attacks against gradients; the table below holds the numbers.",
      key: series.map(({name, index}) => ({text: name, series: index})), series}),
    heading("h3", "Error left after so many gradients", "grid-title"), chartKey(knownLevels()), attackGrid(run),
    element("p", {class: "note"}, "Underlined: the strongest attack at that budget.")];
  const about = report.attacks.filter((attack) => attack.description || attack.requirement).map((attack) => element("div", {class: "entry"}, heading("h3", attackTitle(attack.name)),
    attack.description ? element("p", {}, sentence(attack.description)) : null,
    attack.requirement ? element("p", {class: "small"}, "Needs: " + sentence(attack.requirement)) : null));
  return section("attacks", words.title, content, notRun(),
    about.length > 0 ? element("details", {class: "explains"}, element("summary", {}, "What each attack does, and what it needs"), element("div", {class: "entries"}, about)) : null);
}

function defences() {
  const words = texts.figures.defences;
  const list = report.defences || [];
  const title = (defence) => (defence.title || titled(defence.name));
  const label = (defence) => tied(title(defence) + (defence.setting ? ", " + defence.setting : ""));
  // Each cell at the largest budget it was measured with.
  const rows = list.flatMap((defence) => {
    const largest = new Map();
    for (const cell of defence.cells) {
      const known = largest.get(cell.attack);
      if (isNumber(cell.relative_error) && (!known || cell.gradients > known.gradients)) largest.set(cell.attack, cell);
    }
    return [...largest.values()].map((cell) => withLines(
      {defence: label(defence), attack: attackTitle(cell.attack), gradients: cell.gradients, relative_error: cell.relative_error, known: knownClass(cell.relative_error), text: percent(cell.relative_error)},
      [["", label(defence)], ...errorLines(attackTitle(cell.attack), cell),
        ...(cell.predicted && percentInterval(cell.predicted.interval) ? [["predicted", percentInterval(cell.predicted.interval)]] : [])]));
  });
  if (rows.length === 0) return section("defences", words.title, absent(whyAbsent("The comparison of defences", false)));
  const budgets = [...new Set(rows.map((row) => row.gradients))].sort((a, b) => a - b);
  // Names in lines: of the columns as wide as a column, upright where that is too narrow.
  const fit = (spec, width) => {
    const labelWidth = width < 520 ? 18 : 34;  // characters, of about 7 pixels
    const columns = new Set(rows.map((row) => row.attack)).size;
    const columnWidth = Math.floor((width / 7 - labelWidth) / columns) - 1;
    const upright = columnWidth < 12;
    const cellWidth = (width - 7 * labelWidth) / columns;
    const numbers = spec.layer.find((layer) => layer.mark.type === "text");
    if (cellWidth < 36) numbers.mark.fontSize = 10;
    if (cellWidth < 24) spec.layer.splice(spec.layer.indexOf(numbers), 1);  // the tooltip and the table have them
    const lines = (text, length) => {
      const all = wrapped(text, length);
      return (all.length <= MOST_LINES ? all : [...all.slice(0, MOST_LINES - 1), "…"]).join("\n");
    };
    spec.datasets.rows = rows.map((row) => ({...row, attack: upright ? row.attack : lines(row.attack, columnWidth), defence: lines(row.defence, labelWidth)}));
    const split = "split(datum.label, '\\n')";
    const most = (field) => Math.max(...spec.datasets.rows.map((row) => row[field].split("\n").length));
    // Vega hangs lines below the first: columns start higher, rows are moved up by half of what they have more.
    const counts = Array.from({length: MOST_LINES}, (_, i) => i + 1);
    Object.assign(spec.encoding.x.axis, {labelExpr: split, labelPadding: 6 + LINE_HEIGHT * (most("attack") - 1), labelAngle: upright ? -90 : 0, labelLimit: upright ? 170 : 7 * columnWidth + 7, labelOverlap: false});
    Object.assign(spec.encoding.y.axis, {labelExpr: split, labelLimit: 7 * labelWidth, labelOffset: {
      condition: counts.map((count) => ({test: "length(" + split + ") == " + count, value: -LINE_HEIGHT * (count - 1) / 2})), value: 0}});
    spec.height = Math.max(36, 12 + LINE_HEIGHT * most("defence")) * new Set(rows.map((row) => row.defence)).size;
  };
  const about = list.filter((defence) => defence.stops || defence.does_not_stop || defence.theory).map((defence) => element("div", {class: "entry"},
    heading("h3", label(defence)),
    defence.stops ? element("p", {}, element("b", {}, "Stops: "), sentence(defence.stops)) : null,
    defence.does_not_stop ? element("p", {}, element("b", {}, "Does not stop: "), sentence(defence.does_not_stop)) : null,
    defence.theory ? element("p", {class: "small"}, "In theory: " + sentence(defence.theory)) : null));
  return section("defences", words.title, figure("defences", {rows}, {
    key: knownLevels(), fit, fixedHeight: true,
    label: "Heat map of " + list.length + " defences against attacks; the numbers are in the table below.",
    remark: "Measured after " + budgets.map(integer).join(" or ") + " gradients.",
    numbers: table([{title: "Defence"}, {title: "Attack"}, {title: "Gradients", number: true}, {title: "Relative error", number: true}, {title: "Interval", number: true}],
      list.flatMap((defence) => defence.cells.map((cell) => [label(defence), attackTitle(cell.attack), integer(cell.gradients), percent(cell.relative_error), percentInterval(cell.interval)]))),
  }), about.length > 0 ? element("div", {class: "entries"}, about) : null);
}

function spectrum() {
  const words = texts.figures.spectrum;
  const spectra = report.spectrum;
  if (!spectra) return section("spectrum", words.title, absent(whyAbsent("The spectrum", true)));
  const of = (values, series) => (values || []).map((eigenvalue, i) => withLines({index: i + 1, eigenvalue, series}, [["", series], ["eigenvalue " + (i + 1) + ":", number(eigenvalue)]])).filter((row) => row.eigenvalue > 0);
  const rows = [...of(spectra.true, "true"), ...of(spectra.recovered, "recovered")];
  if (rows.length === 0) return section("spectrum", words.title, absent("No positive eigenvalue was recovered"));
  const names = [...new Set(rows.map((row) => row.series))];
  const how = (spectra.attack ? " by " + attackTitle(spectra.attack) : "") + (isNumber(spectra.gradients) ? " after " + integer(spectra.gradients) + " gradients" : "");
  const most = Math.max((spectra.true || []).length, spectra.recovered.length);
  return section("spectrum", words.title, figure("spectrum", {rows}, {
    label: "Line chart of the eigenvalues, " + names.join(" and ") + ", largest first.",
    key: names.map((name, i) => ({text: name + (name === "recovered" ? how : ""), series: i, dashed: i > 0})), dashes: true,
    remark: spectra.true ? "" : "Only what was recovered is drawn: the true spectrum needs the owner's data.",
    numbers: table([{title: "Rank", number: true}, {title: "True", number: true}, {title: "Recovered", number: true}],
      Array.from({length: most}, (_, i) => [integer(i + 1), spectra.true && i < spectra.true.length ? number(spectra.true[i]) : "", i < spectra.recovered.length ? number(spectra.recovered[i]) : ""])),
  }));
}

function alignment() {
  const words = texts.figures.alignment;
  const dimension = report.dataset.dimension;
  const rows = (report.alignment || []).filter((entry) => isNumber(entry.overlap)).map((entry) => withLines(
    {...entry, overlap: Math.min(1, entry.overlap), blind: Math.min(1, entry.subspace / dimension)},
    [["", "The " + integer(entry.subspace) + " strongest directions"], ["overlap", percent(entry.overlap)], ["a blind guess", percent(Math.min(1, entry.subspace / dimension))]]));
  if (rows.length === 0) return section("alignment", words.title, absent(whyAbsent("The comparison of directions", true)));
  return section("alignment", words.title, figure("alignment", {rows}, {
    label: "Bar chart of the overlap of leading subspaces: " + rows.map((row) => percent(row.overlap) + " of " + row.subspace).join(", ") + ".",
    remark: "The black marks are the blind guess.",
    numbers: table([{title: "Directions", number: true}, {title: "Overlap", number: true}, {title: "Blind guess", number: true}], rows.map((row) => [integer(row.subspace), percent(row.overlap), percent(row.blind)])),
  }));
}

function calibration() {
  const words = texts.figures.calibration;
  const title = (entry) => (entry.title || titled(entry.name)) + (isNumber(entry.total_noise_variance_over_n) ? " (noise " + number(entry.total_noise_variance_over_n) + " n)" : "");
  const series = (report.calibration || []).map((entry) => ({title: title(entry), curve: points(entry.curve, "relative_error")})).filter(({curve}) => curve.length > 0);
  const rows = series.flatMap((one) => one.curve.map((point) => withLines({...point, series: one.title}, errorLines(one.title, point))));
  if (rows.length === 0) return section("calibration", words.title, absent(whyAbsent("The comparison of noise levels", false)));
  return section("calibration", words.title, figure("calibration", {rows}, {
    label: "Line chart of the relative error against gradients under " + series.length + " noise levels.",
    key: series.map((one, i) => ({text: one.title, series: i})), numbers: curveNumbers(series),
  }));
}

function epsilonCurve(name, id, privacy) {
  const words = texts.figures[name];
  if (!privacy.applicable) return section(id, words.title, absent(privacy.reason || "No epsilon is valid for this policy"));
  const rows = points(privacy.curve, "epsilon").map((point) => withLines(point, [["after", integer(point.gradients) + " gradients"], ["epsilon", number(point.epsilon)], ["delta", number(privacy.delta)]]));
  if (rows.length === 0) return section(id, words.title, absent(privacy.reason || "No epsilon was computed"));
  return section(id, words.title, figure(name, {rows}, {
    label: "Line chart of epsilon against gradients, from " + number(rows[0].epsilon) + " to " + number(rows[rows.length - 1].epsilon) + ".",
    remark: isNumber(privacy.delta) ? "With delta = " + number(privacy.delta) + "." : "",
    numbers: table([{title: "Gradients", number: true}, {title: "Epsilon", number: true}], rows.map((row) => [integer(row.gradients), number(row.epsilon)])),
  }), sentences(privacy.assumptions));
}

function labelPrivacy() {
  if (report.label_privacy) return epsilonCurve("label_privacy", "label-privacy", report.label_privacy);
  return section("label-privacy", texts.figures.label_privacy.title, absent(whyAbsent("Label privacy", false)));
}

// Only where gradients are clipped: elsewhere nobody expects such a promise.
function gradientPrivacy() {
  const privacy = report.gradient_privacy;
  return privacy && privacy.applicable ? [epsilonCurve("gradient_privacy", "gradient-privacy", privacy)] : [];
}

function findings() {
  const states = {true: ["found", "▲ Found"], false: ["clear", "✓ Not found"], null: ["open", "– Not tested"]};
  const known = Object.keys(texts.findings);
  const order = ([name, finding]) => [true, false, null].indexOf(finding.found) * 100 + (known.indexOf(name) + 100) % 100;
  const entries = Object.entries(report.findings || {}).sort((a, b) => order(a) - order(b)).map(([name, finding]) => {
    const words = texts.findings[name] || {};
    const [style, state] = states[String(finding.found)];
    const evidence = Object.entries(finding.evidence).filter(([key]) => key !== "sentence");
    return element("div", {class: "entry " + style}, element("p", {class: "state"}, state),
      heading("h3", finding.title || words.title || titled(name)),
      words.question ? element("p", {class: "small"}, words.question) : null,
      element("p", {}, sentence(finding.evidence.sentence)),
      evidence.length > 0 ? element("details", {}, element("summary", {}, "Evidence"), table([{title: "Quantity"}, {title: "Value"}], evidence.map(([key, value]) => [titled(key), plain(value)]))) : null);
  });
  return section("findings", "Findings", element("p", {class: "lead"}, "Leaks that are not a matter of degree: each was looked for by itself."),
    entries.length > 0 ? element("div", {class: "entries"}, entries) : absent("Nothing was looked for"));
}

function policy() {
  const named = Object.keys(texts.policy);
  const settings = Object.entries(report.policy).filter(([key, value]) => key !== "defences" && value !== null)
    .sort(([a], [b]) => (named.indexOf(a) + 100) % 100 - (named.indexOf(b) + 100) % 100);
  const chosen = Object.entries(report.policy.defences || {});
  const data = report.dataset;
  const modes = {simulation: "in process, from the owner's data", oracle: "over the network, against a running oracle", recording: "from recorded gradients"};
  return section("policy", "The policy in force", pairs([
    ["Data", (isNumber(data.row_count) ? integer(data.row_count) + " rows, " : "") + integer(data.dimension) + " features"],
    ...(data.scaling ? [["Units", data.scaling]] : []),
    ...(isNumber(data.effective_rank) ? [["Effective rank", number(data.effective_rank)]] : []),
    ...(isNumber(data.residual_variance) ? [["Residual variance", number(data.residual_variance)]] : []),
    ["Rows in each gradient", integer(report.batch_size)],
    ["Gradients an attack could have", integer(report.budget)],
    ["Audited", modes[report.mode]],
    ...settings.map(([key, value]) => [texts.policy[key] || titled(key), plain(value)]),
    ["Defences", report.policy.defences === null || report.policy.defences === undefined ? "not stated" : chosen.length === 0 ? "none beyond the limits above" : chosen.map(([name, setting]) => titled(name) + ": " + plain(setting)).join("; ")],
  ]));
}

function assumptions() {
  const predicted = report.accountant && report.accountant.assumptions;
  return section("assumptions", "What was assumed", sentences(report.assumptions) || absent("Nothing was written down"),
    predicted && predicted.length > 0 ? [heading("h3", "By the prediction"), sentences(predicted)] : null);
}

function reproduce() {
  const commands = report.reproduce && report.reproduce.length > 0 ? report.reproduce : report.command && report.command.length > 0 ? [report.command.join(" ")] : [];
  return section("reproduce", "How to reproduce this",
    commands.length > 0 ? element("pre", {}, commands.join("\n")) : absent("The commands were not recorded"),
    pairs([
      ...(report.version ? [["gradoracle", report.version]] : []),
      ["Report format", report.schema],
      ...(report.dataset.dataset_version ? [["Data set version", element("code", {}, report.dataset.dataset_version)]] : []),
      ...(isNumber(report.repetitions) ? [["Repetitions", integer(report.repetitions)]] : []),
      ...(report.created ? [["Written", report.created]] : []),
      ...(isNumber(report.seconds) ? [["The audit took", duration(report.seconds)]] : []),
    ]));
}

async function build() {
  const data = report.dataset;
  document.getElementById("occasion").textContent = ["Curvature audit", (isNumber(data.row_count) ? integer(data.row_count) + " rows, " : "") + integer(data.dimension) + " features",
    "batches of " + integer(report.batch_size), String(report.created || "").slice(0, 10)].filter((text) => text !== "").join(" · ");
  document.getElementById("colophon").textContent = (report.version ? "Written by gradoracle " + report.version + ". " : "") + "This file holds everything it shows and asks no network for anything. Charts: Vega-Lite " + vegaLite.version + ".";
  document.getElementById("content").append(element("div", {class: "first"}, leakage(), facts()),
    attacks(), defences(), spectrum(), alignment(), calibration(), labelPrivacy(), ...gradientPrivacy(), findings(), policy(), assumptions(), reproduce());
  for (const {chart, spec, datasets, options} of drawings) {
    try {
      await drawChart(chart, spec, datasets, options);
    } catch (error) {
      chart.replaceChildren(absent("This chart could not be drawn; its numbers are in report.json"));
      console.error(error);
    }
  }
  document.documentElement.dataset.drawn = String(views.length);  // tests wait for it
}
build();
