"use strict";
// Draws the Vega-Lite specs of figures.json: no eval (expressions are interpreted), no network, colours as CSS variables.

const SERIES_COLOURS = 8;
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"];
const DASHES = [[1, 0], [7, 3], [2, 3], [9, 3, 2, 3]];
const PRINT_WIDTH = 680;  // of A4 within its margins, in CSS pixels
const views = [];

function chartConfig(narrow) {
  const font = getComputedStyle(document.documentElement).fontFamily;
  const size = narrow ? 12 : 13;
  return {
    aria: false,  // the figure has one label and a table
    background: "transparent",
    font,
    view: {stroke: null},
    axis: {
      labelColor: "var(--muted)", titleColor: "var(--muted)", labelFontSize: size, titleFontSize: size, titleFontWeight: "normal",
      gridColor: "var(--rule)", domainColor: "var(--faint)", tickColor: "var(--faint)", titlePadding: 10, labelOverlap: true,
      labelLimit: narrow ? 118 : 260,
    },
    rule: {color: "var(--ink)"},
    text: {color: "var(--ink)"},
  };
}

// Ticks of a logarithmic axis: 1, 2, 5 over few decades, powers of ten over many.
function logTicks(values, few) {
  const positive = values.filter((value) => isNumber(value) && value > 0);
  if (positive.length === 0) return [];
  const low = Math.min(...positive);
  const high = Math.max(...positive);
  const decades = Math.log10(high / low);
  const steps = decades <= (few ? 1.2 : 2.2) ? [1, 2, 5] : decades <= (few ? 2.4 : 3.2) ? [1, 3] : [1];
  const ticks = [];
  for (let exponent = Math.floor(Math.log10(low)) - 1; exponent <= Math.ceil(Math.log10(high)); ++exponent) {
    for (const step of steps) {
      const tick = Number((step * 10 ** exponent).toPrecision(1));
      if (tick >= low * 0.9 && tick <= high * 1.1) ticks.push(tick);
    }
  }
  return ticks;
}

// What a series looks like: colours first, then dashes. OTHERS: what stands behind the series.
const OTHERS = -1;
function seriesLook(index) {
  if (index === OTHERS) return {colour: "var(--background-series)", dash: DASHES[0], shape: 0};
  return {colour: "var(--series-" + (1 + (index % SERIES_COLOURS)) + ")", dash: DASHES[Math.floor(index / SERIES_COLOURS) % DASHES.length], shape: index % SHAPES.length};
}

// The spec with everything filled in that depends on data and width.
function finishedSpec(spec, datasets, narrow, options) {
  const finished = JSON.parse(JSON.stringify(spec));
  finished.datasets = datasets;
  finished.description = options.label;  // Vega makes it the label of the container
  finished.width = "container";
  finished.autosize = {type: "fit-x", contains: "padding", resize: true};
  const has = (layer) => !layer.data || (datasets[layer.data.name] || []).length > 0;
  finished.layer = finished.layer.filter(has);
  const rows = Object.values(datasets).flat();
  for (const channel of ["x", "y"]) {
    const definition = finished.encoding[channel];
    if (definition.scale && definition.scale.type === "log") {
      const fields = [definition.field, ...(channel === "y" ? ["lower", "upper"] : [])];
      definition.axis.values = logTicks(rows.flatMap((row) => fields.map((field) => row[field])), narrow || channel === "y");
    }
  }
  const series = options.series || [...new Set(rows.map((row) => row.series).filter((name) => name !== undefined))].map((name, index) => ({name, index}));
  const names = series.map(({name}) => name);
  const scales = {color: (i) => seriesLook(i).colour, strokeDash: (i) => (options.dashes && i > 0 ? DASHES[1] : seriesLook(i).dash), shape: (i) => SHAPES[seriesLook(i).shape]};
  for (const [channel, look] of Object.entries(scales)) {
    if (finished.encoding[channel]) finished.encoding[channel].scale = {domain: names, range: series.map(({index}) => look(index))};
  }
  return finished;
}

let tooltipElement = null;
// Vega's tooltip handler: the datum's lines [[name, value]] as text.
function showTooltip(handler, event, item, value) {
  tooltipElement = tooltipElement || document.body.appendChild(element("div", {id: "tooltip", role: "status"}));
  if (value === null || value === undefined || value === "" || !item || !item.datum || !Array.isArray(item.datum.lines)) {
    tooltipElement.classList.remove("shown");
    return;
  }
  tooltipElement.replaceChildren(...item.datum.lines.map(([name, text]) => element("div", {}, name ? element("span", {class: "name"}, name + " ") : null, text)));
  const box = tooltipElement.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - box.width - 8);
  const above = event.clientY + 14 + box.height > document.documentElement.clientHeight - 8;
  tooltipElement.style.left = Math.max(8, left) + "px";
  tooltipElement.style.top = Math.max(8, above ? event.clientY - box.height - 10 : event.clientY + 14) + "px";
  tooltipElement.classList.add("shown");
}

// Draws into `container`, which must be on the page and has a width. options.label: for who cannot see it;
// options.dashes: later series are dashed; options.series: [{name, index}], else in their order; options.fixedHeight: on paper too; options.fit(spec, datasets, width): the last word on both.
function drawChart(container, spec, datasets, options) {
  const width = container.clientWidth;
  const narrow = width < 520;
  const finished = finishedSpec(spec, datasets, narrow, options);
  if (options.fit) options.fit(finished, Math.min(width, PRINT_WIDTH));  // so that labels fit on paper too
  const compiled = vegaLite.compile(finished, {config: chartConfig(narrow)}).spec;
  const view = new vega.View(vega.parse(compiled, null, {ast: true}), {
    expr: vegaInterpreter.expressionInterpreter, renderer: "svg", container, hover: true, tooltip: showTooltip, logLevel: vega.Warn,
  });
  views.push({view, height: finished.height, fixed: options.fixedHeight});
  return view.runAsync();
}

const MARK_OUTLINES = {  // around (0, 0), as Vega draws them
  circle: "M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0Z", square: "M-4 -4H4V4H-4Z", "triangle-up": "M0 -4.5L5 4H-5Z",
  diamond: "M0 -5.5L5 0L0 5.5L-5 0Z", cross: "M-2 -5H2V-2H5V2H2V5H-2V2H-5V-2H-2Z", "triangle-down": "M0 4.5L5 -4H-5Z",
  "triangle-right": "M4.5 0L-4 -5V5Z", "triangle-left": "M-4.5 0L4 -5V5Z",
};

function path(attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A piece of line as in the chart, with its mark if it has one.
function swatch(colour, dash, shape) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({width: 34, height: 14, "aria-hidden": "true"})) made.setAttribute(key, value);
  made.append(path({d: "M1 7H33", stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ")}));
  if (shape) made.append(path({d: MARK_OUTLINES[shape], fill: colour, transform: "translate(17 7)"}));
  return made;
}

// The key above a chart: [{text, series: index, dashed?}], [{text, colour, dashed?}] or [{text, known: 1 to 5}].
function chartKey(entries) {
  return element("ul", {class: "key"}, entries.map((entry) => {
    if (entry.known) return element("li", {}, element("span", {class: "block known-" + entry.known, "aria-hidden": "true"}), entry.text);
    const look = seriesLook(entry.series || 0);
    return element("li", {}, swatch(entry.colour || look.colour, entry.dashed ? DASHES[1] : look.dash, entry.colour ? null : SHAPES[look.shape]),
      element("span", {}, entry.text));
  }));
}

// On paper every chart has the width of the sheet and is less high; afterwards it is as before.
// What explains is unfolded there; tables of numbers stay folded.
window.addEventListener("beforeprint", () => {
  views.forEach(({view, height, fixed}) => view.width(PRINT_WIDTH).height(fixed ? height : 0.8 * height).run());
  document.querySelectorAll("details.explains:not([open])").forEach((details) => details.setAttribute("open", "print"));
});
window.addEventListener("afterprint", () => {
  document.querySelectorAll("details.explains[open=print]").forEach((details) => details.removeAttribute("open"));
  views.forEach(({view, height}) => view.height(height).run());
  window.dispatchEvent(new Event("resize"));
});
