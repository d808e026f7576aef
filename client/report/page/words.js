"use strict";
// Numbers as people read them, and elements whose text is never markup: values go in as text nodes or attributes only.

const GROUPED = new Intl.NumberFormat("en-US", {maximumFractionDigits: 0});

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

// 12345 -> "12,345".
function integer(value) {
  return isNumber(value) ? GROUPED.format(value) : "unknown";
}

// Three significant digits: 0.012345 -> "0.0123".
function number(value) {
  if (!isNumber(value)) return "unknown";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-6 ? value.toExponential(2) : Number(value.toPrecision(3)).toLocaleString("en-US", {maximumSignificantDigits: 3});
}

// 0.1234 -> "12%"; two significant digits, whole numbers from 10 % on.
function percent(value) {
  if (!isNumber(value)) return "unknown";
  const hundredth = 100 * value;
  if (hundredth === 0) return "0%";
  if (hundredth >= 10) return GROUPED.format(hundredth) + "%";
  return (hundredth < 0.01 ? hundredth.toExponential(0) : String(Number(hundredth.toPrecision(2)))) + "%";
}

function percentInterval(interval) {
  return Array.isArray(interval) && isNumber(interval[0]) && isNumber(interval[1])
    ? percent(interval[0]) + " to " + percent(interval[1]) : "";
}

// 1.234 s, 83 s, 12 min.
function duration(seconds) {
  if (!isNumber(seconds)) return "unknown";
  return seconds < 10 ? number(seconds) + " s" : seconds < 120 ? Math.round(seconds) + " s" : Math.round(seconds / 60) + " min";
}

// "support_leak" -> "Support leak".
function titled(name) {
  const words = String(name).replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function sentence(text) {
  const trimmed = String(text).trim();
  return trimmed === "" || /[.!?]$/.test(trimmed) ? trimmed : trimmed + ".";
}

// The same with a capital, unless it begins with a name such as batch_size.
function opened(text) {
  const said = sentence(text);
  return /^[a-z]+[ ,:]/.test(said) ? said[0].toUpperCase() + said.slice(1) : said;
}

// Keeps "c = 4" on one line.
function tied(text) {
  return text.replace(/ ([=<>≤≥]+) /g, "\u00a0$1\u00a0");
}

// Breaks at spaces into lines of at most `width` characters, where words allow it.
function wrapped(text, width) {
  const lines = [];
  for (const word of text.split(" ")) {
    const last = lines[lines.length - 1];
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = last + " " + word;
    else lines.push(word);
  }
  return lines;
}

// Any value of the JSON in a line of text.
function plain(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (isNumber(value)) return Number.isInteger(value) ? integer(value) : number(value);
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(plain).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([key, member]) => titled(key).toLowerCase() + " " + plain(member)).join(", ");
  return String(value);
}

// element("p", {class: "lead"}, "text", child, ...): strings become text nodes, null children are left out.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== "") made.append(child);
  }
  return made;
}

// A table of texts. columns: [{title, number?}]; rows: arrays of texts or elements.
function table(columns, rows, attributes) {
  const kind = (i) => (columns[i].number ? {class: "number"} : {});
  return element("div", {class: "scroll"}, element("table", attributes,
    element("thead", {}, element("tr", {}, columns.map((column, i) => element("th", {scope: "col", ...kind(i)}, column.title)))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell, i) =>
      cell instanceof HTMLTableCellElement ? cell : i === 0 ? element("th", {scope: "row", ...kind(i)}, cell) : element("td", kind(i), cell)))))));
}

function sentences(texts) {
  return Array.isArray(texts) && texts.length > 0
    ? element("ul", {class: "sentences"}, texts.map((text) => element("li", {}, opened(text)))) : null;
}

// [[term, text or element]] as a list of definitions.
function pairs(entries) {
  return element("dl", {class: "pairs"}, entries.map(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
}
